// What programs with @nestjs/microservices send and read with its RMQ transport. Prints one line per
// answer, as JSON: the name of the case, and the value or the error that the client received.
//
//   node nestjs_client.js AMQP_URL EVENTS_QUEUE REQUESTS_QUEUE

import 'reflect-metadata';
import { ClientProxyFactory, RmqRecordBuilder, Transport } from '@nestjs/microservices';
import { lastValueFrom, timeout } from 'rxjs';

const [url, eventsQueue, requestsQueue] = process.argv.slice(2);

const client = (queue) =>
    ClientProxyFactory.create({
        transport: Transport.RMQ,
        options: { urls: [url], queue, queueOptions: { durable: true } },
    });
const print = (name, said) => console.log(JSON.stringify({ name, ...said }));

const events = client(eventsQueue);
const emit = (pattern, data) => lastValueFrom(events.emit(pattern, data), { defaultValue: null });
const headers = { 'x-tenant': 'blue' };
await emit('order.created', { id: 1, total: 9.5 });
await emit({ cmd: 'created', area: { b: 2, a: 1 } }, [1, 'Größe']);
await emit(7, 'text');
await emit('order.options', new RmqRecordBuilder({ id: 2 }).setOptions({ headers, priority: 3, messageId: 'own-id' }).build());
await events.close();

const requests = client(requestsQueue);
const ask = async (name, pattern, data) => {
    try {
        print(name, { value: await lastValueFrom(requests.send(pattern, data).pipe(timeout(20_000))) });
    } catch (error) {
        print(name, { error: error instanceof Error ? String(error) : error });
    }
};
await ask('sum', { cmd: 'sum' }, [1, 2]);
await Promise.all([1, 2, 3].map((number) => ask(`echo ${number}`, 'echo', { number })));
await ask('text', 'text', {});
await ask('nothing', 'nothing', {});
await ask('refused', 'refused', {});
await ask('failed', 'failed', {});
await ask('late', 'late', {});
// An event in a queue of requests.
await lastValueFrom(requests.emit('among.requests', { id: 3 }), { defaultValue: null });
await requests.close();
