// The broker as amqplib sees it, Node's client of RabbitMQ.
//
// Usage: PORT=… MODULES=… node amqp_calls.cjs
const assert = require('node:assert');
const { join } = require('node:path');

const amqp = require(join(process.env.MODULES, 'amqplib'));

const COUNT = 200;

async function topics(connection) {
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange('events', 'topic', { durable: false });
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, 'events', 'order.#');
  await channel.prefetch(5);
  const headers = { text: 'a', half: 1.5, list: [1, 'x'], deep: { yes: true } };
  const seen = [];
  const all = new Promise((resolve) => {
    channel.consume(queue, (message) => {
      assert.deepStrictEqual(message.properties.headers, headers);
      seen.push(Number(message.content));
      channel.ack(message);
      if (seen.length === COUNT) resolve();
    });
  });
  for (let number = 0; number < COUNT; number += 1) {
    channel.publish('events', 'order.placed', Buffer.from(`${number}`), { headers, persistent: true });
  }
  await channel.waitForConfirms();
  await all;
  assert.deepStrictEqual(seen, [...Array(COUNT).keys()]);
}

async function answers(connection) {
  const server = await connection.createChannel();
  await server.assertQueue('ask', { autoDelete: true });
  await server.consume('ask', (message) => {
    const { replyTo, correlationId } = message.properties;
    server.sendToQueue(replyTo, Buffer.from(`${message.content}, too`), { correlationId });
    server.ack(message);
  });
  const client = await connection.createChannel();
  const answer = new Promise((resolve) => {
    client.consume('amq.rabbitmq.reply-to', resolve, { noAck: true }).then(() => {
      const properties = { replyTo: 'amq.rabbitmq.reply-to', correlationId: '7' };
      client.sendToQueue('ask', Buffer.from('hello'), properties);
    });
  });
  const message = await answer;
  assert.strictEqual(`${message.content}`, 'hello, too');
  assert.strictEqual(message.properties.correlationId, '7');
}

async function refusals(connection) {
  const channel = await connection.createChannel();
  const closed = new Promise((resolve) => channel.on('error', resolve));
  await assert.rejects(channel.checkQueue('absent'));
  assert.strictEqual((await closed).code, 404);
}

async function main() {
  const connection = await amqp.connect(`amqp://guest:guest@127.0.0.1:${process.env.PORT}/`);
  await topics(connection);
  await answers(connection);
  await refusals(connection);
  await connection.close();
  console.log('ok');
}

main();
