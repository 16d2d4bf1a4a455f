"""`pinclip bot`: runs a bot, and lets people see, steer and take back what it does.

    run PLATFORM   follow a platform: observe, review or enforce        needs a server
    report         what it saw, and what a policy would do about it  \\
    review         what waits for a person: approve or reject it      | on the journal alone,
    mode           how far it goes, now                               | beside a running bot
    undo ITEM      take back what it did                             /
    list, new      what can be run; begin an adapter of your own

stdout is data (--json), stderr is talk: one line for each thing that a bot does. Everything is done
by one function a verb, which parses nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from sdk.commands.exits import Exit, exit_of
from sdk.commands.words import printable
from sdk.environment import SettingsError, load
from sdk.errors import InputError, PinclipError

from . import plugins
from .clock import SystemClock
from .journal import Entry, Journal, JournalError, JournalInUse, Made, Mode, State
from .platform import PermissionLost, PlatformError, Plugin
from .report import DAY_SECONDS, REPORT_DAYS, lines, make_report
from .rules import PolicyError
from .runner import EnforceRefused, Runner, enter

if TYPE_CHECKING:
    from .platform import Platform

JOURNAL = Path("pinclip-bot.db")
UNDO_SECONDS = 60.0
"""How long `undo` waits for a running bot to do it."""
POLL_SECONDS = 0.5
_JUDGED = {"approve": "approved", "reject": "rejected"}
_UNITS = {"m": 60.0, "h": 3600.0, "d": DAY_SECONDS}
_MEANINGS = {
    0: "done",
    2: "the arguments, the policy or what is asked for cannot be used",
    3: "the settings, the key, an extra or the journal is at fault",
    5: "the server or the platform cannot be reached",
    7: "partly done: something could not be undone",
}


def main(argv: Sequence[str]) -> int:
    """Do what `argv` says; returns the exit status."""
    options = _parser().parse_args(argv)
    try:
        return int(options.act(options))
    except SettingsError as error:
        return _refuse(*error.faults, status=Exit.AUTH)
    except PolicyError as error:
        return _refuse(*str(error).splitlines(), status=Exit.USAGE)
    except BrokenPipeError:
        raise  # the reader of our output has gone, which `pinclip` itself answers
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _refuse(f"{what}. Name a file that can be used.", status=Exit.USAGE)
    except PinclipError as error:
        return _refuse(str(error), status=_status(error))


def run(
    name: str, *, policy: str | None, journal: Path, mode: str | None, stop: asyncio.Event | None
) -> None:
    """Run a bot until it is told to stop, or its platform has no more items.

    `policy` and `mode` are as the journal has them if None. Raises SettingsError, PinclipError, or
    OSError for a policy that cannot be read.
    """
    plugin = plugins.platform(name)
    settings = load(plugin.settings)
    with Journal(journal) as held:
        held.hold(name)
        chosen = plugins.policy(policy or held.policy)
        if policy is not None:
            held.policy = str(Path(policy).resolve()) if Path(policy).is_file() else policy

        async def work(platform: Platform) -> None:
            await _follow(platform, chosen, held, mode=mode, stop=stop or _on_signals())

        asyncio.run(_opened(plugin, settings, work))


async def _follow(
    platform: Platform,
    chosen: plugins.Chosen,
    journal: Journal,
    *,
    mode: str | None,
    stop: asyncio.Event,
) -> None:
    from sdk import AsyncClient

    async with AsyncClient(operating_point=chosen.terms.operating_point) as client:
        wanted = None if mode is None else Mode(mode)
        runner = Runner(platform, chosen.policy, client, journal, mode=wanted, terms=chosen.terms)
        await runner.run(stop)


async def _opened(
    plugin: Plugin, settings: Any, work: Callable[[Platform], Awaitable[None]]
) -> None:
    async with plugin.open(settings) as platform:
        await work(platform)


def _on_signals() -> asyncio.Event:
    """Return an event that Ctrl-C and SIGTERM set, so that what was begun is ended.

    The second time they end the process, as ever: the platform may not answer for long.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_once(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop_once, number)
    return stop


def _run(options: argparse.Namespace) -> int:
    _log_to_stderr()
    run(
        options.platform,
        policy=options.policy,
        journal=options.journal,
        mode=options.mode,
        stop=None,
    )
    return Exit.DONE


def _report(options: argparse.Namespace) -> int:
    with _journal(options) as journal:
        chosen = plugins.policy(options.policy or journal.policy)
        now = SystemClock().now()
        since = now - (options.since or REPORT_DAYS * DAY_SECONDS)
        made = make_report(
            journal.seen_since(since),
            chosen.policy,
            policy_id=chosen.terms.policy_id,
            since=since,
            until=now,
        )
        told = Made(at=now, items=made.items, policy_id=made.policy_id)
        _print([_json(made)] if options.json else lines(made))
        # Last: what could not be shown to a person allows nothing.
        sys.stdout.flush()
        journal.note_report(told)
    return Exit.DONE


def _review(options: argparse.Namespace) -> int:
    with _journal(options) as journal:
        waiting = journal.entries(State.WAITING)
        if options.verdict is None:
            _print(_json(_facts(entry)) if options.json else _line(entry) for entry in waiting)
            return Exit.DONE
        if not options.keys:
            raise InputError(
                f"Nothing is named to {options.verdict}.",
                hint="`pinclip bot review` lists what waits, a key a line.",
            )
        judge = journal.approve if options.verdict == "approve" else journal.reject
        for key in [_key(waiting, given) for given in options.keys]:
            is_done = judge(key, by=_person(), at=SystemClock().now())
            said = f"is {_JUDGED[options.verdict]}" if is_done else "does not wait any more"
            sys.stderr.write(f"pinclip: {key} {said}.\n")
    return Exit.DONE


def _mode(options: argparse.Namespace) -> int:
    with _journal(options) as journal:
        if options.mode is not None:
            enter(
                journal,
                Mode(options.mode),
                policy_id=_policy_id(journal, options),
                now=SystemClock().now(),
                by=_person(),
            )
        stance = journal.stance()
        why = f" (fell back: {stance.fell_back})" if stance.fell_back else ""
        _print([_json(stance) if options.json else printable(f"{stance.mode}{why}")])
    return Exit.DONE


def _policy_id(journal: Journal, options: argparse.Namespace) -> str:
    """Return the id of the policy that a mode is for. To do less, none need be readable."""
    try:
        return plugins.policy(options.policy or journal.policy).terms.policy_id
    except (PinclipError, OSError):
        if options.policy or options.mode == Mode.ENFORCE:
            raise
        return journal.stance().policy_id


def _undo(options: argparse.Namespace) -> int:
    with _journal(options) as journal:
        wanted = _to_undo(journal, options)
        now = SystemClock().now()
        for entry in wanted:
            journal.fall(entry.action.key, why=f"by hand: {_person()}", at=now)
        keys = [entry.action.key for entry in wanted]
        asyncio.run(_undone(journal, keys))
        found = [each for key in keys if (each := journal.entry(key)) is not None]
        _print(_json(_facts(each)) if options.json else _line(each) for each in found)
    is_done = all(each.state in (State.UNDONE, State.GONE) for each in found)
    return Exit.DONE if is_done else Exit.PARTIAL


async def _undone(journal: Journal, keys: Sequence[str]) -> None:
    """Have these undone: by the bot that is running, or here."""
    name = journal.platform
    if name is None or not keys:
        return
    try:
        journal.hold(name)
    except JournalInUse:
        sys.stderr.write("pinclip: a bot is running by this journal; it undoes what was asked.\n")
        await _until_undone(journal, keys)
        return

    async def work(platform: Platform) -> None:
        from sdk import AsyncClient

        chosen = _policy_or_none(journal.policy)
        terms = structs.replace(chosen.terms, policy_id=journal.stance().policy_id)
        async with AsyncClient(operating_point=terms.operating_point) as client:
            runner = Runner(platform, chosen.policy, client, journal, mode=None, terms=terms)
            await runner.finish(keys)

    plugin = plugins.platform(name)
    await _opened(plugin, load(plugin.settings), work)


def _policy_or_none(name: str | None) -> plugins.Chosen:
    """Return the policy that says how authors are told; whatever became of it, undoing goes on."""
    try:
        return plugins.policy(name)
    except Exception:
        return plugins.policy(None)


async def _until_undone(journal: Journal, keys: Sequence[str]) -> None:
    clock = SystemClock()
    until = clock.now() + UNDO_SECONDS
    while clock.now() < until:
        pending = {entry.action.key for entry in journal.entries(State.UNDOING)}
        if not pending.intersection(keys):
            return
        await clock.sleep(POLL_SECONDS)


def _new(options: argparse.Namespace) -> int:
    from .template import new

    project = new(options.name, Path.cwd())
    _print([str(project)])
    return Exit.DONE


def _list(options: argparse.Namespace) -> int:
    found = list(plugins.installed())
    if options.json:
        _print(_json(each._asdict()) for each in found)
        return Exit.DONE
    _print(
        f"{'platform' if each.group == plugins.PLATFORMS else 'policy':<10}{each.name:<20}"
        f"{each.package}"
        for each in found
    )
    return Exit.DONE


def _to_undo(journal: Journal, options: argparse.Namespace) -> list[Entry]:
    """Return the actions in force that are meant; raises InputError if there is none."""
    since = 0.0 if options.since is None else SystemClock().now() - options.since
    found = [
        entry
        for entry in journal.entries(State.APPLIED, State.UNDOING)
        if (options.all or options.item in (entry.item.id, entry.item.url, entry.action.key))
        and (entry.acted_at or 0.0) >= since
    ]
    if not found and not options.all:
        raise InputError(
            f"Nothing that the bot did to {options.item!r} is in force.",
            hint="Give the item's id or URL as `pinclip bot report --json` has it, or --all.",
        )
    return found


def _key(waiting: Sequence[Entry], given: str) -> str:
    """Return the key that begins so; raises InputError if it is not one alone."""
    keys = [entry.action.key for entry in waiting if entry.action.key.startswith(given)]
    if len(keys) == 1:
        return keys[0]
    what = f"{len(keys)} actions that wait begin with" if keys else "No action that waits is"
    raise InputError(f"{what} {given!r}.", hint="`pinclip bot review` lists them, a key a line.")


def _person() -> str:
    """Return who asks, as the machine knows them: in a container it may have no name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"user {os.getuid()}"


def _line(entry: Entry) -> str:
    where = entry.item.url or entry.item.id
    return printable(
        f"{entry.action.key} {entry.state} {entry.action.kind}: {where} {entry.action.text}"
    )


def _facts(entry: Entry) -> dict[str, object]:
    return {
        "key": entry.action.key,
        "state": entry.state,
        "action": entry.action.kind,
        "item_id": entry.item.id,
        "url": entry.item.url,
        "author": entry.item.author,
        "scan_id": entry.action.scan_id,
        "sha256": entry.action.sha256,
        "text": entry.action.text,
        "why": entry.why,
    }


def _journal(options: argparse.Namespace) -> Journal:
    """Return the journal that is named; raises InputError where there is none yet."""
    if not options.journal.exists():
        raise InputError(
            f"There is no journal {options.journal}.",
            hint="`pinclip bot run PLATFORM` makes one; name another with --journal.",
        )
    return Journal(options.journal)


def _status(error: PinclipError) -> int:
    match error:
        case EnforceRefused():
            return Exit.USAGE
        case JournalError() | plugins.PluginError() | PermissionLost():
            return Exit.AUTH
        case PlatformError():
            return Exit.SERVER
        case _:
            return exit_of(error)


def _refuse(*sentences: str, status: int) -> int:
    sys.stderr.writelines(f"pinclip: {printable(each)}\n" for each in sentences)
    return status


def _print(rows: Sequence[str] | Iterator[str]) -> None:
    sys.stdout.writelines(f"{row}\n" for row in rows)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


class _Printable(logging.Formatter):
    """Lets nothing that strangers wrote steer the terminal, or begin a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(printable(each) for each in super().format(record).split("\n"))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("pinclip.bot").setLevel(logging.INFO)


def _parser() -> argparse.ArgumentParser:
    statuses = "\n".join(f"  {status:<4d}{meaning}" for status, meaning in _MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog="pinclip bot",
        description="Run a moderation bot, and see, steer and take back what it does.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog=(
            f"exit status:\n{statuses}\n"
            "A bot observes until a person has read `pinclip bot report` and says\n"
            "`pinclip bot mode enforce`. docs/guides/policy.md tells how to write a policy."
        ),
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_run(verbs)
    _add_report(verbs)
    _add_review(verbs)
    _add_mode(verbs)
    _add_undo(verbs)
    new = _verb(verbs, "new", _new, "begin an adapter for a platform of your own")
    new.add_argument("name", metavar="NAME", help="of the platform, such as myboard")
    found = _verb(verbs, "list", _list, "show the platforms and policies that are installed")
    _add_json(found)
    return parser


def _add_run(verbs: Any) -> None:
    verb = _verb(verbs, "run", _run, "follow a platform")
    verb.add_argument("platform", metavar="PLATFORM", help="see `pinclip bot list`")
    _add_policy(verb, "by which to decide (default: as before, at first: tell moderators)")
    _add_journal(verb)
    verb.add_argument(
        "--mode",
        choices=[str(mode) for mode in Mode],
        help="how far to go (default: as before, at first observe)",
    )


def _add_report(verbs: Any) -> None:
    verb = _verb(verbs, "report", _report, "show what was seen, and what a policy would do")
    _add_policy(verb, "to report of (default: the one that runs)")
    _add_journal(verb)
    _add_since(verb, f"what came in so long (default: {REPORT_DAYS}d)")
    _add_json(verb)


def _add_review(verbs: Any) -> None:
    verb = _verb(verbs, "review", _review, "list what waits for a person, approve or reject it")
    verb.add_argument("verdict", nargs="?", choices=["approve", "reject"], help="list if left out")
    verb.add_argument("keys", nargs="*", metavar="KEY", help="of actions, or how they begin")
    _add_journal(verb)
    _add_json(verb)


def _add_mode(verbs: Any) -> None:
    verb = _verb(verbs, "mode", _mode, "show how far the bot goes, or change it at once")
    verb.add_argument("mode", nargs="?", choices=[str(mode) for mode in Mode])
    _add_policy(verb, "that is to be enforced (default: the one that runs)")
    _add_journal(verb)
    _add_json(verb)


def _add_undo(verbs: Any) -> None:
    verb = _verb(verbs, "undo", _undo, "take back what the bot did")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("item", nargs="?", metavar="ITEM", help="id or URL of an item, or a key")
    which.add_argument("--all", action="store_true", help="everything that is in force")
    _add_since(verb, "only what was done in so long")
    _add_journal(verb)
    _add_json(verb)


def _verb(
    verbs: Any, name: str, act: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )
    verb.set_defaults(act=act)
    return verb


def _add_policy(verb: argparse.ArgumentParser, summary: str) -> None:
    verb.add_argument("--policy", metavar="FILE|NAME", help=f"the policy {summary}")


def _add_journal(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--journal",
        type=Path,
        default=JOURNAL,
        metavar="FILE",
        help="what the bot knows and did (default: %(default)s)",
    )


def _add_since(verb: argparse.ArgumentParser, summary: str) -> None:
    verb.add_argument("--since", type=_ago, metavar="AGE", help=f"{summary}, such as 90m, 12h, 7d")


def _add_json(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print JSON, one object a line")


def _ago(text: str) -> float:
    try:
        seconds = float(text[:-1]) * _UNITS[text[-1:]]
    except (KeyError, ValueError):
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not an age such as 90m, 12h or 7d")
    return seconds
