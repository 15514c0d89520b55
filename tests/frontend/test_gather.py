import asyncio

from penstock.frontend.gather import SECONDS_PER_STREAM, Reader, Rounds


def test_the_first_and_the_last_news_wake_at_once_and_the_rest_gather():
    reader = Reader(lambda: None)
    reader.interval = 3
    assert reader.news(0, False) is True, "a prompt's scores come without tokens"
    assert reader.news(1, False) is True
    assert [reader.news(1, False) for _ in range(6)] == [None, None, False, None, None, False]
    assert reader.news(1, False) is None
    assert reader.news(0, True) is True


def test_readers_of_many_streams_are_woken_in_rounds():
    async def go():
        woken, streams = [], 1
        rounds = Rounds(1.0, lambda: streams)
        readers = [Reader(lambda number=number: woken.append(number)) for number in range(3)]
        rounds.add(readers[:1])
        assert woken == [0], "the first round is due at once"
        streams = 400
        rounds.add(readers[:2])
        rounds.add(readers[1:])
        assert woken == [0]
        async with asyncio.timeout(5):
            while len(woken) < 4:
                await asyncio.sleep(SECONDS_PER_STREAM)
        assert sorted(woken[1:]) == [0, 1, 2], "each once, however often it had news"

    asyncio.run(go())


def test_without_gathering_every_reader_is_woken_at_once():
    async def go():
        woken = []
        rounds = Rounds(0.0, lambda: 10_000)
        for number in range(5):
            rounds.add([Reader(lambda number=number: woken.append(number))])
        assert woken == [0, 1, 2, 3, 4]

    asyncio.run(go())
