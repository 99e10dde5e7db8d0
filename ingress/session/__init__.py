"""The session core: frames in, effects out, told the time. No socket, no clock, no await."""

from ingress.session.core import Session
from ingress.session.effects import Append, CatchUp, Close, Effect, Leave, OpenAndSend, Send, SendDatagram
from ingress.session.limits import Now, SessionLimits
from ingress.session.opening import Secrets
from ingress.session.outgoing import Outgoing

__all__ = [
    "Append",
    "CatchUp",
    "Close",
    "Effect",
    "Leave",
    "Now",
    "OpenAndSend",
    "Outgoing",
    "Secrets",
    "Send",
    "SendDatagram",
    "Session",
    "SessionLimits",
]
