// Publishes on one confirm channel, and reports for each message what RabbitMQ answered.
import amqplib from 'amqplib';

const EXCHANGE = 'events.topic.exchange';
const CONFIRM_MS_MAX = 5_000;
const CHANNEL_BUFFER_BYTES = 1 << 20;

let channel = null;
let isFull = false;
let waitingForRoom = [];
// By message id, in the order of publishing and hence of the deadlines.
const unconfirmed = new Map();

export async function connect(url) {
  const connection = await amqplib.connect(url, {
    // Off by default, and then Nagle holds a publish back until RabbitMQ has acknowledged the last.
    noDelay: true,
    recovery: { initialMaxRetries: 0, maxDelay: 2_000, setup: openChannel },
  });
  // A close follows an error, and a new connection follows the close.
  connection.on('error', (error) => console.error(`connection lost: ${error.message}`));
  setInterval(expire, 500).unref();
  return connection;
}

// Resolves to nothing when RabbitMQ has confirmed the message, otherwise to the reason.
export async function publish(routingKey, messageId, body) {
  while (isFull) {
    await new Promise((resolve) => waitingForRoom.push(resolve));
  }
  if (channel === null) return 'not connected to RabbitMQ';
  return new Promise((resolve) => {
    const now = Date.now();
    unconfirmed.set(messageId, { resolve, isReturned: false, deadline: now + CONFIRM_MS_MAX });
    // False does not mean that it failed, but that the next one should wait.
    isFull = !channel.publish(
      EXCHANGE,
      routingKey,
      body,
      {
        mandatory: true,
        persistent: true,
        contentType: 'application/json',
        messageId,
        type: routingKey,
        timestamp: Math.floor(now / 1000),
      },
      (error) => settle(messageId, error),
    );
  });
}

async function openChannel(connection) {
  const opened = await connection.createConfirmChannel({ highWaterMark: CHANNEL_BUFFER_BYTES });
  await opened.assertExchange(EXCHANGE, 'topic', { durable: true });
  opened.on('drain', makeRoom);
  // RabbitMQ returns a message before it confirms it.
  opened.on('return', ({ properties }) => {
    const message = unconfirmed.get(properties.messageId);
    if (message) message.isReturned = true;
  });
  opened.on('error', (error) => console.error(`channel lost: ${error.message}`));
  opened.on('close', () => {
    channel = null;
    makeRoom();
    // Recovers only from a lost connection; rejects if the connection was lost.
    connection.close().catch(() => {});
  });
  channel = opened;
}

function settle(messageId, error) {
  const message = unconfirmed.get(messageId);
  if (!message) return;
  unconfirmed.delete(messageId);
  if (error) message.resolve(error.message);
  else if (message.isReturned) message.resolve('no queue takes this event');
  else message.resolve();
}

function makeRoom() {
  isFull = false;
  const waiting = waitingForRoom;
  waitingForRoom = [];
  for (const resolve of waiting) resolve();
}

function expire() {
  const now = Date.now();
  for (const [messageId, { resolve, deadline }] of unconfirmed) {
    if (deadline > now) return;
    unconfirmed.delete(messageId);
    resolve('RabbitMQ did not confirm in time');
  }
}
