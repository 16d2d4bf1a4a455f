"""FRONT DESK: which URL may be fetched and which address may be dialled. Pure: no DNS, no I/O.

    text              --check_url-->      Target          before anything is looked up
    Target, Location  --follow-->         Target          each hop of a redirect
    Target.host       --own_addresses-->  addresses       hosts that need no DNS
    address           --check_address-->  None | reason   each address of an answer, at the dial

The text is judged by this grammar alone, because parsers disagree about odd URLs and the
disagreement is the attack. An address is judged by the tables below and not by
`ipaddress.is_global`, which is true of multicast, 6to4, NAT64, Azure's 168.63.129.16 and others
(cpython #113171, #81930). What an operator allows (Policy) comes before both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NoReturn
from unicodedata import normalize
from urllib.parse import quote, urljoin

import idna

from sdk.codes import ProblemCode

Address = IPv4Address | IPv6Address

URL_LIMIT = 2048
"""Longest URL in characters, also after its host and path are written in ASCII."""
PORTS = {"http": 80, "https": 443}
"""The schemes that are fetched, and the port of each."""


class UrlRefused(Exception):
    """The URL may not be fetched: a stable code, and what is wrong, without the URL's query."""

    def __init__(self, code: ProblemCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Policy:
    """What may be fetched besides public addresses and ports 80 and 443.

    Built from settings as they are written: Policy(("127.0.0.0/8",), (8000,)). Raises ValueError
    for what is not a network; `faults_of_allowed` says so in a sentence.
    """

    allow_networks: Iterable[str] = ()
    allow_ports: Iterable[int] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = field(init=False, repr=False)
    ports: frozenset[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow_networks", tuple(self.allow_networks))
        object.__setattr__(self, "allow_ports", tuple(self.allow_ports))
        object.__setattr__(self, "networks", tuple(map(ip_network, self.allow_networks)))
        object.__setattr__(self, "ports", frozenset((*PORTS.values(), *self.allow_ports)))


@dataclass(frozen=True, slots=True)
class Target:
    """A URL whose text has passed. `host` is ASCII, lower case, an IPv6 address without brackets.

    `url` is canonical, in ASCII, without fragment and without the scheme's own port.
    """

    scheme: str
    host: str
    port: int
    url: str


def check_url(text: str, policy: Policy) -> Target:
    """Return what the URL names, or raise UrlRefused: invalid before scheme before blocked."""
    scheme = _scheme(text)
    _check_characters(text)
    authority, rest = _split(text, scheme)
    host_text, port_text = _split_port(authority)
    host, port = _host(host_text), _port(port_text, scheme)
    target = Target(scheme, host, port, _canonical(scheme, host, port, rest))
    if len(target.url) > URL_LIMIT:
        _invalid(f"The URL has {len(target.url)} characters once in ASCII; at most {URL_LIMIT}.")
    reason = _against_host(host, policy) or _against_port(port, policy)
    if reason:
        raise UrlRefused(ProblemCode.ADDRESS_BLOCKED, reason)
    return target


def follow(target: Target, location: str, policy: Policy) -> Target:
    """Return where a redirect leads from `target`, given its Location header; raises UrlRefused."""
    _check_characters(location)
    if _SCHEME.match(location):
        return check_url(location, policy)
    if location.startswith("//"):
        return check_url(f"{target.scheme}:{location}", policy)
    return check_url(urljoin(target.url, location), policy)


def own_addresses(host: str, policy: Policy) -> tuple[Address, ...]:
    """Return the addresses of a host that needs no DNS, or nothing where DNS must be asked.

    A literal is itself. `localhost` is loopback by RFC 6761, as far as the policy allows, so that
    one allowed family is not undone by the other in /etc/hosts.
    """
    if _is_under(host, ("localhost",)):
        return tuple(ip for ip in _LOOPBACK if check_address(ip, policy) is None)
    try:
        return (ip_address(host),)
    except ValueError:
        return ()


def check_address(address: Address, policy: Policy) -> str | None:
    """Return why the address must not be dialled, or None if it may be."""
    if any(address in network for network in policy.networks):
        return None
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return f"{address} is not in 2000::/3, where public IPv6 addresses are."
    for network, use in _SPECIAL.items():
        if address in network:
            return f"{address} is in {network} ({use}), which is not public."
    return None


def faults_of_allowed(networks: Iterable[str], ports: Iterable[int]) -> Iterator[str]:
    """Yield a sentence for each entry that is not a network or not a port."""
    for text in networks:
        try:
            ip_network(text)
        except ValueError as error:
            yield (
                f"PINCLIP_FETCH_ALLOW_NETWORKS has {text!r} ({error}): write networks such as "
                "127.0.0.0/8 or fd00::/8, separated by commas."
            )
    for port in ports:
        if not 0 < port < 65536:
            yield f"PINCLIP_FETCH_ALLOW_PORTS has {port}: ports are 1 to 65535."


_GLOBAL_V6 = ip_network("2000::/3")

# The IANA special-purpose registries, multicast, and one cloud's address among the public ones.
_SPECIAL = {
    ip_network(network): use
    for network, use in {
        "0.0.0.0/8": "this host",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "shared by carriers",
        "127.0.0.0/8": "loopback",
        "169.254.0.0/16": "link-local, cloud metadata",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "protocol assignments",
        "192.0.2.0/24": "documentation",
        "192.31.196.0/24": "AS112",
        "192.52.193.0/24": "multicast relays",
        "192.88.99.0/24": "6to4 relays",
        "192.168.0.0/16": "private",
        "192.175.48.0/24": "AS112",
        "198.18.0.0/15": "benchmarks",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
        "168.63.129.16/32": "Azure's host",
        "2001::/23": "protocol assignments, Teredo",
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4",
        "3fff::/20": "documentation",
        "2620:4f:8000::/48": "AS112",
    }.items()
}

_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

# Names that a network of one's own answers; fine to ask for once such a network is allowed.
_LOCAL = ("local", "internal", "lan", "corp", "arpa", "onion")

# Metadata services by name. They hand out credentials, so no setting opens them.
_METADATA = (
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
    "metadata.packet.net",
    "metadata.platformequinix.com",
)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"//([^/?#]*)([^#]*)")
_FORBIDDEN = re.compile(r'[\x00-\x20\x7f\\<>"`{}|^]')
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTS = re.compile("[\u3002\uff0e\uff61]")  # what IDNA takes for a full stop
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


def _scheme(text: str) -> str:
    """Return http or https. First, so that a long data: URL hears that it is a data: URL."""
    found = _SCHEME.match(text)
    if not found:
        _invalid("The URL does not begin with http:// or https://.")
    scheme = found[1].lower()
    if scheme not in PORTS:
        raise UrlRefused(
            ProblemCode.URL_SCHEME_NOT_ALLOWED,
            f"The URL's scheme is {_shown(scheme)}; only http and https are fetched.",
        )
    return scheme


def _check_characters(text: str) -> None:
    if len(text) > URL_LIMIT:
        _invalid(f"The URL has {len(text)} characters; at most {URL_LIMIT} are taken.")
    found = _FORBIDDEN.search(text)
    if found:
        _invalid(
            f"The URL has {found[0]!r} at position {found.start()}, which no URL may hold; "
            "percent-encode it."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        _invalid(f"The URL has half a surrogate pair at position {error.start}.")


def _split(text: str, scheme: str) -> tuple[str, str]:
    """Return (host and port, path and query); the fragment is never sent, so it goes."""
    found = _AUTHORITY.match(text, len(scheme) + 1)
    if not found:
        _invalid(f"The URL has no // after {scheme}:.")
    authority, rest = found.groups()
    for sign, what in (("@", "a user name"), ("%", "a percent sign")):
        if sign in authority:
            _invalid(f"The URL has {what} in front of its path ({sign}); write the host alone.")
    return authority, rest


def _split_port(authority: str) -> tuple[str, str | None]:
    """Return (host, port text), the port None where there is no colon."""
    if authority.startswith("["):
        host, bracket, after = authority.partition("]")
        if not bracket or after[:1] not in ("", ":"):
            _invalid(f"The URL's host {_shown(authority)} is not an IPv6 address in brackets.")
        return host + bracket, after[1:] if after else None
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return PORTS[scheme]
    if not re.fullmatch(r"[0-9]+", text) or not 0 < int(text) < 65536:
        _invalid(f"The URL's port is {_shown(text)}; ports are 1 to 65535.")
    return int(text)


def _host(text: str) -> str:
    """Return the host in ASCII: a name, or an address as `ipaddress` writes it."""
    if text.startswith("["):
        return _literal(IPv6Address, text[1:-1])
    if not text:
        _invalid("The URL has no host.")
    labels = _DOTS.sub(".", text).removesuffix(".").split(".")
    name = ".".join(_label(label, text) for label in labels)
    if len(name) > 253:
        _invalid(f"The URL's host has {len(name)} characters; host names have at most 253.")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _literal(IPv4Address, name)
    return name


def _literal(kind: type[Address], text: str) -> str:
    # Shorthands (127.1, 0x7f.1, 2130706433) are refused here: getaddrinfo would expand them.
    try:
        return str(kind(text))
    except ValueError:
        _invalid(f"The URL's host {_shown(text)} is not an IP address written in full.")


def _label(label: str, host: str) -> str:
    """Return one label of a name in ASCII.

    IDNA 2008 without the mapping of UTS 46: a circled digit, a full-width letter or a soft hyphen
    is part of no name, and is not quietly turned into one.
    """
    lower = label.lower()
    if label.isascii() and not lower.startswith("xn--"):
        if not _LABEL.fullmatch(lower):
            _invalid(f"The URL's host {_shown(host)} is not a host name.")
        return lower
    try:
        ascii_label = idna.alabel(normalize("NFC", lower)).decode()
    except idna.IDNAError as error:
        _invalid(f"The URL's host {_shown(host)} is not an international name: {error}.")
    if not ascii_label.startswith("xn--"):  # the Kelvin sign becomes a k
        _invalid(f"The URL's host {_shown(host)} has a look-alike of an ASCII letter.")
    return ascii_label


def _canonical(scheme: str, host: str, port: int, rest: str) -> str:
    place = f"[{host}]" if ":" in host else host
    if port != PORTS[scheme]:
        place = f"{place}:{port}"
    path = rest if rest.startswith("/") else f"/{rest}"
    return f"{scheme}://{place}{quote(path, safe=_PRINTABLE)}"


def _against_host(host: str, policy: Policy) -> str | None:
    if _is_under(host, _METADATA):
        return f"{host} is a metadata service."
    if _is_under(host, ("localhost",)):
        return None if own_addresses(host, policy) else f"{host} is this machine, not public."
    reasons = [check_address(address, policy) for address in own_addresses(host, policy)]
    if reasons:
        return reasons[0]
    is_local = "." not in host or _is_under(host, _LOCAL)
    if is_local and not policy.networks:
        return f"{_shown(host)} is a name of a local network, not a public one."
    return None


def _against_port(port: int, policy: Policy) -> str | None:
    if port in policy.ports:
        return None
    return (
        f"Port {port} is not fetched: only {', '.join(map(str, sorted(policy.ports)))} are. "
        "PINCLIP_FETCH_ALLOW_PORTS adds others."
    )


def _is_under(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def _shown(text: str) -> str:
    """Quote what was given, cut short: it goes into an answer and a log."""
    return repr(text if len(text) <= 80 else f"{text[:80]}...")


def _invalid(detail: str) -> NoReturn:
    raise UrlRefused(ProblemCode.URL_INVALID, detail)
