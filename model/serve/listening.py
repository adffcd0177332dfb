"""Listening sockets of HTTP servers, and which addresses are this machine's own."""

import ipaddress
import socket

from configs.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """Opens a listening socket; port 0 takes a free one. Raises ConfigError if that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--port, --host: cannot listen on {host} port {port} ({error}); choose others") from None


def address(listener: socket.socket) -> str:
    """The URL of a listening socket, without a slash at the end."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    name = host.strip("[]").partition("%")[0]
    try:
        numbers = ipaddress.ip_address(name)
    except ValueError:
        return name.lower() == "localhost"
    mapped = numbers.ipv4_mapped if isinstance(numbers, ipaddress.IPv6Address) else None
    return (mapped or numbers).is_loopback
