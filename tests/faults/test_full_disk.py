"""What is written along the way must never end or hold up a request: ``/dev/full`` refuses every write."""

import pytest

from penstock.config.settings import Config, ModelConfig, ServerConfig
from penstock.core.output import FinishReason
from penstock.engine.client import ProcessClient
from penstock.engine.journal import JournalFile, read_journal
from tests.faults.helpers import FAST, Ends, spec

pytestmark = pytest.mark.anyio


async def test_requests_go_on_when_the_journal_cannot_be_written(tmp_path, capfd):
    server = ServerConfig(record_steps="/dev/full", warm_spare=False)
    config = Config(model=ModelConfig(model=str(tmp_path)), server=server)
    client = ProcessClient(config, "tests.faults.engines:build", FAST)
    ends = Ends()
    try:
        await client.start(ends)
        names = [f"r{i}" for i in range(40)]
        for name in names:  # more than the buffer of the file holds
            await client.submit([spec(name, range(1, 60), max_tokens=300)])
        await ends.ended(*names)
    finally:
        await client.close()
    assert {ends.ends[name][0].reason for name in names} == {FinishReason.LENGTH}
    assert client.health.restarts == 0
    assert capfd.readouterr().err.count("the journal /dev/full ends here: [Errno 28]") == 1


def test_a_journal_that_broke_off_can_be_read_up_to_there(tmp_path, caplog):
    path = tmp_path / "journal"
    journal = JournalFile(str(path))
    line = b'{"type":"abandoned","now":1.0,"ticket":3,"why":"x"}\n'
    journal(line)
    journal.flush()
    journal._file.close()
    journal._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    journal(line)
    journal(line)
    assert journal.stopped and caplog.text.count("ends here") == 1
    with path.open("rb") as file:
        assert [entry.ticket for entry in read_journal(file)] == [3]
