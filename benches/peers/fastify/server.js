// POST /handle on 127.0.0.1:$PORT, published to RabbitMQ at $AMQP_URL. With --versions it only
// prints the versions.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import Fastify from 'fastify';
import { connect, publish } from './publisher.js';

const BODY = {
  type: 'object',
  required: ['action', 'log'],
  additionalProperties: false,
  properties: {
    action: { const: 'log' },
    log: {
      type: 'object',
      required: ['name', 'data'],
      additionalProperties: false,
      properties: {
        name: { type: 'string', minLength: 1, maxLength: 1024 },
        data: {},
        level: { type: 'string', pattern: '^[A-Za-z0-9_-]{1,32}$' },
      },
    },
  },
};

const ACCEPTED = {
  type: 'object',
  properties: {
    error: { const: false },
    message: { const: 'logged via RabbitMQ' },
    data: { type: 'object', properties: { id: { type: 'string' } } },
  },
};

const FAILED = {
  type: 'object',
  properties: { error: { const: true }, message: { type: 'string' } },
};

if (process.argv.includes('--versions')) {
  const { dependencies } = JSON.parse(readFileSync(new URL('package.json', import.meta.url)));
  const { fastify, amqplib } = dependencies;
  console.log(`fastify ${fastify}, amqplib ${amqplib}, Node ${process.version}`);
} else {
  await serve();
}

async function serve() {
  const connection = await connect(process.env.AMQP_URL);
  const app = Fastify({
    logger: false,
    // An event is accepted unchanged or refused, never corrected.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  });
  app.setErrorHandler((error, _request, reply) => {
    reply.code(error.statusCode ?? 500).send({ error: true, message: error.message });
  });
  const schema = { body: BODY, response: { 202: ACCEPTED, '4xx': FAILED, '5xx': FAILED } };
  app.post('/handle', { schema }, handle);
  await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
  process.once('SIGTERM', async () => {
    await app.close();
    await connection.close();
    process.exit();
  });
  console.log('ready');
}

async function handle(request, reply) {
  const { log } = request.body;
  const id = randomUUID();
  const routingKey = `log.${(log.level ?? 'INFO').toUpperCase()}`;
  const failure = await publish(routingKey, id, Buffer.from(JSON.stringify(log)));
  if (failure !== undefined) {
    reply.code(503);
    return { error: true, message: failure };
  }
  reply.code(202);
  return { error: false, message: 'logged via RabbitMQ', data: { id } };
}
