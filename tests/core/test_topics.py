"""Topic names: what is written reads back, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnibase_core.errors import InvalidTopicName
from omnibase_core.topics import MAJOR_MAX, SLUG_LENGTH_MAX, SLUG_PATTERN, Namespace, Owner, Realm, Stream, TopicName

slugs = st.from_regex(SLUG_PATTERN, fullmatch=True).filter(lambda slug: len(slug) <= SLUG_LENGTH_MAX)
names = st.builds(
    TopicName,
    realm=st.sampled_from(Realm),
    environment=slugs,
    tenant=slugs,
    stream=st.sampled_from(Stream),
    owner=st.sampled_from(Owner),
    slug=slugs,
    major=st.integers(0, MAJOR_MAX),
)


@given(names)
def test_a_name_reads_back(name: TopicName) -> None:
    """Writing and parsing are inverse, and Kafka takes every name."""
    assert TopicName.parse(str(name)) == name
    assert len(str(name)) <= 249


@given(st.text() | st.from_regex(r"onex\.(app|sys)\..*\.v\d+", fullmatch=True))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    """Parsing is total: a name that is written again as it was, or InvalidTopicName."""
    try:
        name = TopicName.parse(text)
    except InvalidTopicName:
        return
    assert str(name) == text


@pytest.mark.parametrize("slug", ["", "Echo", "a--b", "-a", "a-", "a.b", "1a", "a" * 49, "ä", "a\n"])
def test_a_part_that_would_not_read_back_is_refused(slug: str) -> None:
    """Parts are checked where a name is made, not where it fails to parse."""
    with pytest.raises(InvalidTopicName):
        Namespace(environment="dev", tenant="acme").command(slug, 1)


@pytest.mark.parametrize("major", [-1, MAJOR_MAX + 1, 10**12])
def test_a_major_version_that_would_not_read_back_is_refused(major: int) -> None:
    """Neither made nor read: least of all as another version."""
    with pytest.raises(InvalidTopicName):
        Namespace(environment="dev", tenant="acme").command("echo", major)


@pytest.mark.parametrize("digits", ["1234567890", "01", "9" * 100])
def test_a_major_version_is_never_read_as_another(digits: str) -> None:
    """What has more digits than a version can have is no name of ours."""
    with pytest.raises(InvalidTopicName):
        TopicName.parse(f"onex.app.dev.acme.cmd.node.echo.v{digits}")


def test_the_names_of_a_host() -> None:
    """The scheme, written out once."""
    names = Namespace(environment="dev", tenant="acme")
    assert names.command("echo", 1) == "onex.app.dev.acme.cmd.node.echo.v1"
    assert names.event("echo", 2) == "onex.app.dev.acme.evt.node.echo.v2"
    assert names.dead_letter("pure") == "onex.app.dev.acme.dlq.runtime.pure.v1"
    assert names.log("host-1") == "onex.sys.dev.acme.log.runtime.host-1.v1"
    assert names.group("pure") == "onex.dev.acme.pure"
