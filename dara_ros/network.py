"""Whom our ROS processes talk to: this machine, one network interface, or whoever is there.

The environment variable DARA_NETWORK says it, and the launch argument `network`:

    localhost   this machine only; also where nothing is said
    ADDRESS     this machine, and the network of the interface that has this IPv4 address
    any         every network, as ROS does by itself

ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST alone is not enough: it keeps a participant from announcing itself,
but its sockets stay open to all, and whoever names this machine in ROS_STATIC_PEERS joins. So the sockets
themselves are bound to the addresses that are meant, by a profile for Fast DDS.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from .errors import UserError

VARIABLE = "DARA_NETWORK"
LOCALHOST, ANY = "localhost", "any"
LOOPBACK_ADDRESS = "127.0.0.1"
HIGHEST_DOMAIN = 232  # the ports of the next ones would be beyond 65535
FAST_DDS = ("rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp")

_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_ADDRESS = "DARA_NETWORK_ADDRESS"  # what the profile puts beside the loopback address
_PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
_PROFILES = (_PROFILE, "FASTDDS_DEFAULT_PROFILES_FILE")
_HERE = Path(__file__).resolve().parent
_CONFINED, _OPEN = str(_HERE / "fastdds_confined.xml"), str(_HERE / "fastdds_any.xml")


def middleware_environment(
    network: str | None = None, middleware: str | None = None, given: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Environment variables for a ROS process of ours, to be set before it makes its first node.

    Where neither `network` nor DARA_NETWORK says anything, the user's ROS_AUTOMATIC_DISCOVERY_RANGE counts.
    A Fast DDS profile of the user's stays, and decides about interfaces.

    Args:
        network: localhost, any, or an IPv4 address of this machine; None: what `given` says.
        middleware: the RMW implementation; None: what `given` says, else Fast DDS.
        given: the environment so far.

    Raises:
        UserError: the address is none of this machine, or something else decides about interfaces.
    """
    reach = given.get(_RANGE, "LOCALHOST")
    network = network or given.get(VARIABLE) or (LOCALHOST if reach == "LOCALHOST" else ANY)
    if network not in (LOCALHOST, ANY):
        _require_address(network)
    wider = "SUBNET" if reach == "LOCALHOST" else reach
    chosen = {VARIABLE: network, _RANGE: "LOCALHOST" if network == LOCALHOST else wider}
    middleware = middleware or given.get("RMW_IMPLEMENTATION") or FAST_DDS[0]
    foreign = next((name for name in _PROFILES if given.get(name, _OPEN) not in (_CONFINED, _OPEN)), None)
    if middleware not in FAST_DDS or foreign:
        if network not in (LOCALHOST, ANY):
            raise UserError(
                f"{VARIABLE} {network}: {foreign or middleware} decides about interfaces, not dara_ros; "
                f"name the address there and give {VARIABLE}={ANY}, or unset it"
            )
        return chosen
    if network == ANY:
        return chosen | {_PROFILE: _OPEN}
    address = LOOPBACK_ADDRESS if network == LOCALHOST else network
    # SUBNET: with LOCALHOST, rmw_fastrtps would add transports of its own, open to all.
    return chosen | {_RANGE: "SUBNET", _PROFILE: _CONFINED, _ADDRESS: address}


def require_domain(given: Mapping[str, str] = os.environ) -> None:
    """See that ROS_DOMAIN_ID is one: with a larger number Fast DDS ends the process without a word.

    Raises:
        UserError: it is not.
    """
    domain = given.get("ROS_DOMAIN_ID", "")
    if domain and not (domain.isdecimal() and int(domain) <= HIGHEST_DOMAIN):
        raise UserError(f"ROS_DOMAIN_ID {domain}: no ROS domain; give a number from 0 to {HIGHEST_DOMAIN}")


def _require_address(network: str) -> None:
    """See that `network` is an IPv4 address of this machine."""
    try:
        address = ipaddress.IPv4Address(network)
        if address.is_unspecified or address.is_multicast:
            raise ValueError(f"{network} stands for many")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((network, 0))
    except (ValueError, OSError) as error:
        raise UserError(
            f"{VARIABLE} {network}: no IPv4 address of this machine; "
            f"give {LOCALHOST}, {ANY}, or one that `ip -4 address` shows"
        ) from error
