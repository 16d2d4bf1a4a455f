"""A policy in a TOML file that a moderator can read and change: rules from top to bottom.

    [[rule]]                              each image: the first rule that fits it
    verdict = "likely_ai"                 each item:  the gravest action of its images
    max_false_alarm_rate = 0.04
    action = "label"

    [brake]    per_10_minutes, per_day    [notices]  acted, undone, appeal_url
    exempt_authors = ["..."]              operating_point = "strict"

`load_policy` reports every fault of a file at once, with its rule and line. It refuses what the law
of policy.py would not let happen, instead of promising it. docs/guides/policy.md is the guide.
"""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Struct, structs

from sdk.errors import PinclipError
from sdk.wire import PointName, Scan, Verdict

from .platform import ActionKind, Item
from .policy import TRUSTED, Brake, Decision, Looked, Terms, Wording, ceiling

VerdictWord = Literal["likely_ai", "declared_ai", "inconclusive"]
PointWord = Literal["strict", "balanced", "sensitive"]
SliceWord = Literal["photo", "illustration", "cgi", "screenshot"]
TrustWord = Literal["trusted", "untrusted", "invalid", "unsigned"]
ActionWord = Literal["nothing", "report", "label", "quarantine", "remove"]

WORDS = ("operating_point", "rule", "brake", "notices", "exempt_authors")
"""What may stand in a policy file, outside of its tables."""
MILD = ("nothing", "report")
"""What may rest on a verdict that is not sure."""
MOST_PER_10_MINUTES = 50
MOST_PER_DAY = 200
"""Where a brake would be none any more."""
PLACEHOLDERS = frozenset({"action", "why", "rate", "scan_id"})

DEFAULT = """\
# What a bot does when it is given no policy: it tells the moderators, and they decide.

[[rule]]  # The file says so itself, and a trusted signature stands behind it.
verdict = "declared_ai"
trust = "trusted"
action = "label"

[[rule]]
verdict = ["declared_ai", "likely_ai"]
action = "report"
"""


class PolicyError(PinclipError, ValueError):
    """The policy file cannot be used; `faults` has one sentence for each fault, with its place."""

    code = "policy_invalid"

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        super().__init__("\n".join(f"{name}: {fault}" for fault in faults))
        self.faults = tuple(faults)


class Rule(Struct, frozen=True, kw_only=True):
    """One rule: what an image must be for it, and what is done then. What is left out fits all."""

    verdict: tuple[VerdictWord, ...]
    action: ActionWord
    needs_human: bool = False
    operating_point: tuple[PointWord, ...] = ()
    slice: tuple[SliceWord, ...] = ()
    trust: tuple[TrustWord, ...] = ()
    warning: tuple[str, ...] = ()
    unless_warning: tuple[str, ...] = ()
    max_false_alarm_rate: float | None = None

    def fits(self, scan: Scan) -> bool:
        """Tell if the rule is about this scan."""
        point, declared, told = scan.operating_point, scan.declaration, set(scan.warnings)
        return (
            (scan.verdict or Verdict.INCONCLUSIVE).value in self.verdict
            and _among(self.operating_point, None if point is None else point.name)
            and _among(self.slice, None if point is None else point.slice)
            and _among(self.trust, None if declared is None else declared.trust)
            and (not self.warning or not told.isdisjoint(self.warning))
            and told.isdisjoint(self.unless_warning)
            and self._is_rare_enough(None if point is None else point.expected_false_alarm_rate)
        )

    def _is_rare_enough(self, rate: float | None) -> bool:
        if self.max_false_alarm_rate is None:
            return True
        return rate is not None and rate <= self.max_false_alarm_rate

    def faults(self) -> Iterator[str]:
        """Yield what the law has against this rule."""
        if not self.verdict:
            yield "`verdict` is empty: name at least one."
        if self.max_false_alarm_rate is not None and not 0 < self.max_false_alarm_rate <= 1:
            yield f"`max_false_alarm_rate` is {self.max_false_alarm_rate}: 0.01 is 1 in 100."
        if self.action in MILD:
            return
        if "inconclusive" in self.verdict:
            yield (
                f"an inconclusive verdict must not {self.action}: nobody knows whether it is so. "
                'Use action = "report" or "nothing".'
            )
        if "declared_ai" in self.verdict and self.trust != (TRUSTED,):
            yield (
                f"a declaration must not {self.action} unless it is trusted, since anybody can "
                'write one into a file. Add trust = "trusted", or use action = "report".'
            )


class RulesPolicy(Struct, frozen=True, kw_only=True):
    """A Policy by rules, and the terms that its file gives."""

    rules: tuple[Rule, ...]
    terms: Terms

    def decide(self, item: Item, looked: Sequence[Looked]) -> Decision:
        """Return the gravest action that the images' rules ask for; the first image where equal."""
        del item
        best = Decision()
        for each in looked:
            found = self._of(each.result) if isinstance(each.result, Scan) else Decision()
            if _severity(found) > _severity(best):
                best = found
        return best

    def _of(self, scan: Scan) -> Decision:
        rule = next((rule for rule in self.rules if rule.fits(scan)), None)
        if rule is None or rule.action == "nothing":
            return Decision()
        wanted, most = ActionKind(rule.action), ceiling(scan)
        kind = wanted if most is None or wanted.severity <= most.severity else most
        return Decision(
            action=None if most is None else kind,
            scan_id=scan.id,
            reasons=tuple(reason.text for reason in scan.reasons),
            needs_human=rule.needs_human,
        )


def load_policy(path: Path) -> RulesPolicy:
    """Return the policy that a file holds. Raises PolicyError with every fault, or OSError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise PolicyError(path.name, [f"line {line} is not UTF-8: save the file as it."]) from None
    return read_policy(text, name=path.name)


def default_policy() -> RulesPolicy:
    """Return the policy of a bot that is given none: moderators are told, and they decide."""
    return read_policy(DEFAULT, name="default")


def read_policy(text: str, *, name: str) -> RulesPolicy:
    """Return the policy that TOML text holds; raises PolicyError with every fault."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(name, [f"this is not TOML: {error}."]) from None
    faults: list[str] = []
    _refuse_unknown(table, WORDS, "the file", faults)
    rules = _rules(table.get("rule", []), _rule_lines(text), faults)
    terms = Terms(
        policy_id=sha256(text.encode()).hexdigest()[:16],
        operating_point=_point(table.get("operating_point", "balanced"), faults),
        exempt_authors=frozenset(_authors(table.get("exempt_authors", []), faults)),
        brake=_part(Brake, table.get("brake", {}), "[brake]", faults) or Brake(),
        wording=_part(Wording, table.get("notices", {}), "[notices]", faults) or Wording(),
    )
    faults.extend(_terms_faults(terms))
    if faults:
        raise PolicyError(name, faults)
    return RulesPolicy(rules=tuple(rules), terms=terms)


def _among(wanted: Sequence[str], value: str | None) -> bool:
    return not wanted or value in wanted


def _severity(decision: Decision) -> int:
    return -1 if decision.action is None else decision.action.severity


def _rules(tables: Any, lines: Sequence[int], faults: list[str]) -> list[Rule]:
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        faults.append("`rule` is not a list of tables: begin each rule with [[rule]].")
        return []
    if not tables:
        faults.append("there is no rule: write at least one, beginning with [[rule]].")
    found = []
    for index, table in enumerate(tables):
        line = f", line {lines[index]}" if len(lines) == len(tables) else ""
        place = f"rule {index + 1}{line}"
        rule = _part(Rule, table, place, faults)
        if rule is not None:
            faults.extend(f"{place}: {fault}" for fault in rule.faults())
            found.append(rule)
    return found


def _rule_lines(text: str) -> list[int]:
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(r"\s*\[\[\s*rule\s*\]\]", line)
    ]


def _part(kind: type[Any], table: Any, place: str, faults: list[str]) -> Any:
    """Return a struct of what the table says, or None after telling all that is wrong with it."""
    if not isinstance(table, dict):
        faults.append(f"{place} is {table!r}: write it as a table, with a line for each value.")
        return None
    before, values, hints = len(faults), {}, get_type_hints(kind)
    _refuse_unknown(table, hints, place, faults)
    for field in structs.fields(kind):
        if field.name in table:
            values[field.name] = _value(field.name, table[field.name], hints, place, faults)
        elif field.required:
            faults.append(f"{place}: `{field.name}` is missing.")
    return kind(**values) if len(faults) == before else None


def _value(name: str, value: Any, hints: dict[str, Any], place: str, faults: list[str]) -> Any:
    hint = hints[name]
    many = getattr(hint, "__origin__", None) is tuple
    given = [value] if many and isinstance(value, str) else value
    try:
        return msgspec.convert(given, hint)
    except msgspec.ValidationError as error:
        words = get_args(get_args(hint)[0]) if many else get_args(hint)
        known = [word for word in words if isinstance(word, str)]
        expected = f"use {', '.join(known)}" if known else str(error).split(" - at")[0]
        faults.append(f"{place}: `{name}` is {value!r}: {expected}.")
        return None


def _refuse_unknown(table: Any, known: Any, place: str, faults: list[str]) -> None:
    for word in table:
        if word not in known:
            near = get_close_matches(word, list(known), n=1)
            meant = f"did you mean `{near[0]}`?" if near else f"use {', '.join(known)}."
            faults.append(f"{place}: `{word}` is not a word of a policy: {meant}")


def _point(value: Any, faults: list[str]) -> PointName:
    if value in get_args(PointWord):
        return PointName(value)
    faults.append(f"`operating_point` is {value!r}: use {', '.join(get_args(PointWord))}.")
    return PointName.BALANCED


def _authors(value: Any, faults: list[str]) -> list[str]:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    faults.append(f'`exempt_authors` is {value!r}: write a list, such as ["name"].')
    return []


def _terms_faults(terms: Terms) -> Iterator[str]:
    brake, wording = terms.brake, terms.wording
    if not 1 <= brake.per_10_minutes <= MOST_PER_10_MINUTES:
        yield (
            f"[brake]: `per_10_minutes` is {brake.per_10_minutes}: from 1 to {MOST_PER_10_MINUTES}."
        )
    if not 1 <= brake.per_day <= MOST_PER_DAY:
        yield f"[brake]: `per_day` is {brake.per_day}: from 1 to {MOST_PER_DAY}."
    for name, text in (("acted", wording.acted), ("undone", wording.undone)):
        yield from _text_faults(name, text)
    url = wording.appeal_url
    if url is not None:
        yield from _text_faults("appeal_url", url)
        if not url.startswith(("https://", "http://")):
            yield f"[notices]: `appeal_url` is {url!r}: write an http or https address."


def _text_faults(name: str, text: str) -> Iterator[str]:
    try:
        fields = [each for each in string.Formatter().parse(text) if each[1] is not None]
    except ValueError as error:
        yield f"[notices]: `{name}` cannot be read ({error}): write a brace itself as {{{{ or }}}}."
        return
    for _, word, form, conversion in fields:
        if form or conversion:
            yield f"[notices]: `{name}` has more than a word in {{{word}}}: leave out its : or !."
    for word in sorted({word or "" for _, word, _, _ in fields} - PLACEHOLDERS):
        known = ", ".join(f"{{{each}}}" for each in sorted(PLACEHOLDERS))
        yield f"[notices]: `{name}` has {{{word}}}: use {known}."
