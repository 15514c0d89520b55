"""The committed page of settings is the one that the settings generate."""

from pathlib import Path

from penstock.config import docs
from penstock.config.fields import all_fields

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_committed_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == docs.render(), "run `make docs`"


def test_page_has_every_setting():
    text = docs.render()
    for field in all_fields():
        assert f"| `{field.name}` |" in text
        assert field.description in text.replace("\\|", "|")


def test_writes_the_page(tmp_path):
    path = tmp_path / "page.md"
    assert docs.main([str(path)]) == 0
    assert path.read_text(encoding="utf-8") == docs.render()
