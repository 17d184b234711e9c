"""mpflow reads, routes and writes multipart streams under structured concurrency.

On trio and on asyncio alike. This is the shop window: names, no logic.
"""

from mpflow import quiet as quiet  # first: Ctrl-C in the imports below shows no traceback
from mpflow.byteranges import ByteRanges, RangePart
from mpflow.contentrange import ContentRange, range_header
from mpflow.errors import (
    BrokenSource,
    ClientDisconnected,
    CommitFailed,
    ConfigError,
    DependencyFailed,
    EmptyBody,
    FlowAborted,
    HandlerCancelled,
    HandlerTimeout,
    InvalidBoundary,
    InvalidContent,
    LimitExceeded,
    MalformedBody,
    MissingParts,
    MultipartError,
    NoResult,
    NoRoute,
    NotMultipart,
    PartRef,
    Rejected,
    ResultsMismatch,
    RolledBack,
    RouteError,
    ServiceFailed,
    Stalled,
    SurplusPart,
    TruncatedBody,
    UnmetNeed,
    UnsupportedCoding,
    WireError,
    WriteError,
)
from mpflow.explanation import Explanation, Verdict
from mpflow.filenames import safe_filename
from mpflow.flow import Branches, Flow, Router
from mpflow.forms import FormData
from mpflow.frames import Frame, Frames
from mpflow.info import PartInfo
from mpflow.options import Option, Options, options_of
from mpflow.part import Part
from mpflow.payloads import Payload
from mpflow.plugins import InstalledHandler, handler_names, installed_handlers, load_handler
from mpflow.problems import Problem
from mpflow.rangewriter import range_writer
from mpflow.reader import MultipartReader
from mpflow.related import Related
from mpflow.results import Handled, Results
from mpflow.routes import Handler, Needs, OnError, Order, Route, needs_of
from mpflow.signatures import accepted_needs, signature_over
from mpflow.wire import Deviation, Limits
from mpflow.writer import MultipartWriter

__all__ = [
    "Branches",
    "BrokenSource",
    "ByteRanges",
    "ClientDisconnected",
    "CommitFailed",
    "ConfigError",
    "ContentRange",
    "DependencyFailed",
    "Deviation",
    "EmptyBody",
    "Explanation",
    "Flow",
    "FlowAborted",
    "FormData",
    "Frame",
    "Frames",
    "Handled",
    "Handler",
    "HandlerCancelled",
    "HandlerTimeout",
    "InstalledHandler",
    "InvalidBoundary",
    "InvalidContent",
    "LimitExceeded",
    "Limits",
    "MalformedBody",
    "MissingParts",
    "MultipartError",
    "MultipartReader",
    "MultipartWriter",
    "Needs",
    "NoResult",
    "NoRoute",
    "NotMultipart",
    "OnError",
    "Option",
    "Options",
    "Order",
    "Part",
    "PartInfo",
    "PartRef",
    "Payload",
    "Problem",
    "RangePart",
    "Rejected",
    "Related",
    "Results",
    "ResultsMismatch",
    "RolledBack",
    "Route",
    "RouteError",
    "Router",
    "ServiceFailed",
    "Stalled",
    "SurplusPart",
    "TruncatedBody",
    "UnmetNeed",
    "UnsupportedCoding",
    "Verdict",
    "WireError",
    "WriteError",
    "accepted_needs",
    "handler_names",
    "installed_handlers",
    "load_handler",
    "needs_of",
    "options_of",
    "range_header",
    "range_writer",
    "safe_filename",
    "signature_over",
]
