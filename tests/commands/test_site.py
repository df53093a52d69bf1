"""That the site of documents has every document, and names what there is."""

import re

import pytest

import lt4rec_tf
from tests.support.paths import PROJECT

MKDOCS = (PROJECT / "mkdocs.yml").read_text("utf-8")
PAGES = re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", MKDOCS.partition("\nnav:")[2], re.MULTILINE)
REFERENCES = sorted((PROJECT / "docs/reference").glob("*.md"))


def test_the_menu_names_every_document_once():
    documents = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), PROJECT / "export/README.md"]
    assert sorted(PAGES) == sorted(str(path.relative_to(PROJECT)) for path in documents)


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.stem)
def test_references_are_made_of_what_there_is(path):
    """Of the code as text: mkdocstrings imports nothing either."""
    lines = path.read_text("utf-8").splitlines()
    names = [line.removeprefix("::: ") for line in lines if line.startswith(":::")]
    assert len(names) > 5
    for name in names:
        module = PROJECT.joinpath(*name.split("."))
        defined = None
        if not module.with_suffix(".py").exists():
            module, defined = module.parent, module.name
        code = module.with_suffix(".py").read_text("utf-8")
        assert code.startswith('"""')
        assert defined is None or re.search(rf"^(?:def|class) {defined}\b", code, re.MULTILINE), (
            name
        )


def test_the_packages_reference_has_the_whole_api():
    text = (PROJECT / "docs/reference/python.md").read_text("utf-8")
    for name in lt4rec_tf.__all__:
        assert re.search(rf"^::: \S+\.{name}$", text, re.MULTILINE), name
