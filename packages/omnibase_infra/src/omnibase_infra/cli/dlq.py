"""`runtime-host dlq`: what a pool could not serve, and how it is sent again."""

import heapq
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from omnibase_core.contracts.catalog import LoadedHost
from omnibase_infra.cli.dlq_output import as_json, clean, figures_json, figures_lines, figures_of, lines_of, whole
from omnibase_infra.cli.host_lookup import broker_option, bus_of, host_of, host_option, major_of
from omnibase_infra.kafka import (
    DeadLetter,
    DeadLetterPosition,
    DeadLetters,
    NotRedrivable,
    Redrive,
    RedriveOutcome,
    Selection,
)

_LIST_LIMIT = 100
_GENERATION_MAX = 5
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d{1,6}[smhd])+", re.ASCII)


def _place(ctx: click.Context, param: click.Parameter, text: str) -> DeadLetterPosition:
    try:
        return DeadLetterPosition.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _places(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> tuple[DeadLetterPosition, ...]:
    return tuple(_place(ctx, param, text) for text in texts)


def _moment(ctx: click.Context, param: click.Parameter, text: str | None) -> datetime | None:
    """Read a time of RFC 3339, or how long ago it was."""
    try:
        return None if text is None else _time_of(text)
    except (ValueError, OverflowError) as error:
        expected = "a time such as 2026-01-31T12:00:00Z, or a duration such as 2h"
        raise click.BadParameter(f"found {text!r}, expected {expected}", ctx, param) from error


def _time_of(text: str) -> datetime:
    if _DURATION.fullmatch(text):
        parts = {_UNITS[unit]: int(count) for count, unit in re.findall(r"(\d+)([smhd])", text)}
        return datetime.now(UTC) - timedelta(**parts)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.astimezone(UTC)


_code_option = click.option(
    "--code", "codes", multiple=True, metavar="CODE", help="Only dead letters with this code; may be repeated."
)
_since_option = click.option(
    "--since",
    metavar="TIME",
    callback=_moment,
    help="Only dead letters since this time: 2026-01-31T12:00:00Z, or 2h, 3d (ago).",
)


@click.group()
def dlq() -> None:
    """Inspect the dead-letter queue, and redrive its commands.

    Topics and the broker come from --host, or else from a host that runs on this machine. The place of a dead letter is
    PARTITION:OFFSET in the dead-letter topic of the pool.

    \b
    Example:
      runtime-host dlq stats
    """


@dlq.command("list")
@click.argument("node")
@host_option
@broker_option
@_code_option
@_since_option
@click.option(
    "--limit", default=_LIST_LIMIT, show_default=True, type=click.IntRange(min=1), help="Show the newest N only."
)
@click.option("--all", "with_redriven", is_flag=True, help="Include dead letters that were redriven.")
@click.option("--json", "json_lines", is_flag=True, help="Print one JSON object per line.")
def list_letters(
    node: str,
    *,
    host: Path | None,
    broker: str | None,
    codes: tuple[str, ...],
    since: datetime | None,
    limit: int,
    with_redriven: bool,
    json_lines: bool,
) -> None:
    """List the dead letters of NODE, the newest last.

    One line each: place, time, code, key and message.

    \b
    Example:
      runtime-host dlq list price-order --since 2h
    """
    count = 0

    def counted(letters: Iterator[DeadLetter]) -> Iterator[DeadLetter]:
        nonlocal count
        for letter in letters:
            if with_redriven or letter.mark is None:
                count += 1
                yield letter.without_value()

    loaded = host_of(node, host, broker)
    with _letters_of(loaded) as letters:
        chosen = letters.chosen(Selection(node=node, codes=codes, since=since))
        newest = heapq.nlargest(limit, counted(chosen), key=lambda it: (it.failed_at, it.place))
    if not newest:
        major_of(loaded, node)
    newest.reverse()
    for line in (json.dumps(as_json(it)) for it in newest) if json_lines else lines_of(newest):
        click.echo(line)
    earlier = f", the newest of {count}" if count > len(newest) else ""
    click.echo(f"dead letters: {len(newest)}{earlier}", err=True)


@dlq.command()
@click.argument("node")
@click.argument("place", metavar="OFFSET", callback=_place)
@host_option
@broker_option
@click.option("--raw", is_flag=True, help="Write the original's bytes to stdout, and nothing else.")
def show(node: str, place: DeadLetterPosition, *, host: Path | None, broker: str | None, raw: bool) -> None:
    """Show everything of the dead letter of NODE at OFFSET.

    OFFSET is what `dlq list` prints: PARTITION:OFFSET, or the offset alone. With --raw, the original of a
    truncated dead letter is fetched from the source topic.

    \b
    Example:
      runtime-host dlq show price-order 2:1042
    """
    loaded = host_of(node, host, broker)
    with _letters_of(loaded) as letters:
        [letter] = letters.at(node, place)
    if not raw:
        for line in whole(letter):
            click.echo(line)
        return
    value = letter.value
    if letter.is_cut:
        with _redrive_of(loaded, letter.source[0].topic if letter.source else "", _GENERATION_MAX) as redrive:
            value = redrive.original(letter).value
    sys.stdout.buffer.write(value or b"")


@dlq.command()
@host_option
@broker_option
@click.option("--json", "json_lines", is_flag=True, help="Print one JSON object per line.")
def stats(*, host: Path | None, broker: str | None, json_lines: bool) -> None:
    """Count the dead letters of the pool by node and code.

    Shows how many wait, how many were redriven, and when the oldest and the newest of the waiting ones failed.

    \b
    Example:
      runtime-host dlq stats --host contracts/hosts/demo.yaml
    """
    with _letters_of(host_of(None, host, broker)) as letters:
        figures = figures_of(letters.chosen(Selection()))
    for line in map(json.dumps, figures_json(figures)) if json_lines else figures_lines(figures):
        click.echo(line)


@dlq.command()
@click.argument("node")
@host_option
@broker_option
@click.option(
    "--offset",
    "places",
    metavar="PLACE",
    multiple=True,
    callback=_places,
    help="The dead letter at this place; may be repeated.",
)
@_code_option
@_since_option
@click.option("--limit", type=click.IntRange(min=1), help="Send at most N commands, the oldest first.")
@click.option(
    "--max-generation",
    "generation_max",
    default=_GENERATION_MAX,
    show_default=True,
    type=click.IntRange(min=1),
    help="Skip dead letters that were redriven N times.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
def redrive(
    node: str,
    *,
    host: Path | None,
    broker: str | None,
    places: tuple[DeadLetterPosition, ...],
    codes: tuple[str, ...],
    since: datetime | None,
    limit: int | None,
    generation_max: int,
    dry_run: bool,
) -> None:
    """Send the commands in the dead letters of NODE again.

    Each command is sent to its original topic with its original value, key and headers. Without options, all waiting
    dead letters are redriven. Each one is marked in the dead-letter topic once the broker has acknowledged its command,
    and skipped from then on: after an interruption, run the same command again. Exit status 1: some were not sent.

    \b
    Example:
      runtime-host dlq redrive price-order --code timeout --dry-run
    """
    if places and (codes or since):
        raise click.UsageError("--offset names the dead letters: do not combine it with --code or --since")
    loaded = host_of(node, host, broker)
    topic = loaded.contract.namespace.command(node, major_of(loaded, node))
    selection = Selection(node=node, codes=codes, since=since)
    counts: Counter[str] = Counter()

    def waiting(letters: Iterator[DeadLetter]) -> Iterator[DeadLetter]:
        for letter in letters:
            if letter.mark is None:
                yield letter
            else:
                counts["already"] += 1

    with _letters_of(loaded) as letters, _redrive_of(loaded, topic, generation_max) as work:
        meant = iter(letters.at(node, *places)) if places else letters.chosen(selection)
        try:
            for outcome in (_planned if dry_run else Redrive.run)(work, waiting(meant), limit=limit):
                counts["failed" if outcome.fault else "sent"] += 1
                click.echo(_line(outcome, dry_run=dry_run))
        finally:
            sent = "to send" if dry_run else "sent"
            figures = f"{sent}: {counts['sent']}, not sent: {counts['failed']}, sent before: {counts['already']}"
            click.echo(figures + (" (dry run: nothing was sent)" if dry_run else ""), err=True)
    if counts["failed"]:
        raise SystemExit(1)


def _planned(work: Redrive, letters: Iterator[DeadLetter], *, limit: int | None) -> Iterator[RedriveOutcome]:
    left = limit
    for letter in letters:
        if left == 0:
            return
        try:
            resend = work.plan(letter)
        except NotRedrivable as error:
            yield RedriveOutcome(place=letter.place, fault=str(error))
            continue
        left = None if left is None else left - 1
        yield RedriveOutcome(place=letter.place, resend=resend)


def _line(outcome: RedriveOutcome, *, dry_run: bool) -> str:
    resend = outcome.resend
    if outcome.fault or resend is None:
        return f"{outcome.place} not sent: {clean(outcome.fault or '')}"
    if not dry_run:
        return f"{outcome.place} sent, generation {resend.generation}, now at {outcome.sent_to}"
    size_bytes = len(resend.message.value or b"")
    where = "any partition" if resend.partition < 0 else f"partition {resend.partition}"
    return f"{outcome.place} to {where}, generation {resend.generation}, {size_bytes} bytes"


def _letters_of(loaded: LoadedHost) -> DeadLetters:
    settings = bus_of(loaded)
    topic = loaded.contract.namespace.dead_letter(loaded.contract.pool)
    return DeadLetters(settings, address=settings.bootstrap_servers, topic=topic)


def _redrive_of(loaded: LoadedHost, command_topic: str, generation_max: int) -> Redrive:
    settings = bus_of(loaded)
    return Redrive(
        settings,
        address=settings.bootstrap_servers,
        dead_letter_topic=loaded.contract.namespace.dead_letter(loaded.contract.pool),
        command_topic=command_topic,
        generation_max=generation_max,
        now=lambda: datetime.now(UTC),
    )
