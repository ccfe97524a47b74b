"""The broker as aio-pika sees it.

Usage: aio_calls.py PORT
"""

import asyncio
import sys

import aio_pika


async def main():
    connection = await aio_pika.connect_robust(f"amqp://guest:guest@127.0.0.1:{sys.argv[1]}/")
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        exchange = await channel.declare_exchange("events", aio_pika.ExchangeType.TOPIC)
        queue = await channel.declare_queue("mailer", durable=True)
        await queue.bind(exchange, "order.*")
        for number in range(100):
            message = aio_pika.Message(b"%d" % number, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await exchange.publish(message, "order.placed")
        seen = []
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    seen.append(int(message.body))
                if len(seen) == 100:
                    break
        assert seen == list(range(100)), seen
        await queue.delete()


asyncio.run(main())
print("ok")
