"""Sends large objects in parts: Hugging Face's `multipart` and giftless's `multipart-basic`.

One of the `uploaders`; `parts` knows what the two want, `unfinished` what was sent before. The one thing to know: parts
leave several at a time, so no single reading hashes what was sent, as it does for an object in one piece. Each part is
held against a `Proof` instead, and the server is told to put them together only when that is the object. Else it is
told to forget them, where it can be.

Source: huggingface_hub, lfs.py; giftless, docs/source/multipart-spec.md.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NoReturn

from lfssync.errors import LfssyncError, TransientError
from lfssync.model import LfsObject
from lfssync.transfer import Source
from lfssync.transfer.batch import MULTIPART, MULTIPART_BASIC, Action, Wanted, broken
from lfssync.transfer.body import ContentChanged, PartBody, Piece
from lfssync.transfer.parts import InParts, Part, Span, Taken, checksum, completion, holes, listed, tagged
from lfssync.transfer.unfinished import Proof, Unfinished, Upload
from lfssync.transfer.uploaders import Errand, Further, LinkRefused, Tools, Uploader, answer_timeout_s
from lfssync.web.retrying import persist

PARTS_AT_ONCE = 4
"""So many parts are under way, of all objects together."""

_TRIES = 3
"""With one part; after that the server is asked anew, for which there is patience of its own."""

_GONE = frozenset({404, 410})
_NOT_TOGETHER = frozenset({400, 404, 409, 410})
"""What servers say about an upload that they do not know (any more), or of which parts are missing."""


def uploaders(unfinished: Unfinished) -> tuple[Uploader, Uploader]:
    """One for each kind of upload in parts.

    Args:
        unfinished: Uploads that were begun before; may outlive the uploaders.
    """
    slots = threading.Semaphore(PARTS_AT_ONCE)
    return (
        _Multipart(MULTIPART, tagged, unfinished, slots),
        _Multipart(MULTIPART_BASIC, listed, unfinished, slots),
    )


class _Multipart:
    def __init__(
        self,
        kind: str,
        planned: Callable[[LfsObject, Wanted], InParts],
        unfinished: Unfinished,
        slots: threading.Semaphore,
    ) -> None:
        self.kind = kind
        self._planned = planned
        self._unfinished = unfinished
        self._slots = slots

    def send(self, source: Source, wanted: Wanted, tools: Tools) -> None:
        """See `Uploader.send`."""
        plan = self._planned(source.lfs, wanted)
        if not (plan.parts or plan.first or plan.last):
            return  # all that is left to do is to verify it
        upload = self._unfinished.upload(source.lfs, plan, tools.keep)
        sending = _Sending(source, upload, tools, self._slots)
        try:
            sending.run("verify" in wanted.actions)
        except (LinkRefused, TransientError) as error:
            upload.is_refused = isinstance(error, LinkRefused)
            is_to_wait = isinstance(error, TransientError) and error.retry_after_s is not None
            # one that is begun anew each time would never come to an end
            if sending.arrived and not (is_to_wait or upload.is_another):
                raise Further(error.message, error.remedy) from error
            raise
        except ContentChanged:
            self.forget(source.lfs, tools)
            raise
        except _Hopeless as error:
            self.forget(source.lfs, tools)
            raise TransientError(f"an upload in parts does not go on: {error}", "it is begun anew") from error
        self._unfinished.end(source.lfs, tools.keep)

    def forget(self, lfs: LfsObject, tools: Tools) -> None:
        """See `Uploader.forget`."""
        upload = self._unfinished.end(lfs, tools.keep)
        if upload and upload.plan.abort:
            with contextlib.suppress(LfssyncError):  # the server may have forgotten it by itself
                tools.run(Errand(upload.plan.abort, "POST", "it does not give up an upload"))


class _Hopeless(Exception):
    """The upload cannot come to a good end; another one may."""


@dataclass(slots=True)
class _Sending:
    """An object on its way."""

    source: Source
    upload: Upload
    tools: Tools
    slots: threading.Semaphore
    arrived: int = 0
    """So many parts the server took."""
    _sent: dict[Span, int] = field(default_factory=dict)
    _total: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, is_verified: bool) -> None:
        """Send what the server lacks, and have it put the parts together.

        Args:
            is_verified: Whether the server is asked about the object afterwards.
        """
        plan, lfs = self.upload.plan, self.source.lfs
        lacking = {part.span: part for part in plan.parts}
        if not plan.is_tagged:  # what it lists it lacks, whatever it took before
            self.upload.taken = {span: taken for span, taken in self.upload.taken.items() if span not in lacking}
        spans = sorted(lacking.keys() | self.upload.taken.keys())
        if (strange := holes(lfs, spans)) != []:
            self._judge(strange)
        if self.upload.proof is None or self.upload.proof.spans != tuple(spans):
            self.upload.proof = Proof(lfs, spans)
        proof = self.upload.proof
        if plan.first:
            self._ask(plan.first, "it does not begin an upload in parts")
        self.tools.each(lambda span: self._bring(span, lacking.get(span), proof), spans)
        if not proof.holds:
            raise ContentChanged
        if plan.last:
            self._put_together(plan.last, is_verified)

    def _judge(self, strange: list[Span] | None) -> NoReturn:
        """The server has parts that nobody here has sent: somebody is at work there now, or was before."""
        before, self.upload.strange = self.upload.strange, strange
        if strange != before:
            raise TransientError("somebody else sends parts of the object, too", "it is looked at again")
        raise _Hopeless("the server has parts that nobody here has sent")

    def _bring(self, span: Span, part: Part | None, proof: Proof) -> None:
        """Make sure that the server has a part, and the right one."""
        with self.slots:
            digest = proof.digest(span, self.source)
            taken = self.upload.taken.get(span)
            if taken is None or taken.sha256 != digest:
                if part is None:
                    raise _Hopeless("the server has a part that is not of the object")
                if not self.upload.plan.is_tagged:  # what the server will have of it can only be this, and it tells
                    self.upload.took(span, Taken("", digest))
                patience = replace(self.tools.patience, tries=_TRIES)
                etag = persist(lambda: self._put(part, digest), self.tools.stop, patience)
                self.arrived += 1
                if self.upload.plan.is_tagged:
                    self.upload.took(span, Taken(etag, digest))
            self._advance(span, span[1])

    def _put(self, part: Part, digest: str) -> str:
        """Send a part; gives its ETag."""
        at, size_bytes = part.span
        piece = Piece(self.source.fd, at, size_bytes, self.source.path)
        answer = self.tools.run(
            Errand(
                part.action,
                "PUT",
                "it does not take a part of the object",
                PartBody(piece, self.tools.throttle, lambda done: self._advance(part.span, done), digest),
                checksum(part.want_digest, lambda: _blocks(PartBody(piece))),
                answer_timeout_s(size_bytes),
                _GONE,
            )
        )
        if not answer.is_success:
            raise _Hopeless("the server does not know it any more")
        etag = answer.headers.get("ETag", "")
        if self.upload.plan.is_tagged and not etag:
            raise broken("it does not say as what it took a part (no ETag)")
        return etag

    def _put_together(self, last: Action, is_verified: bool) -> None:
        lfs, upload = self.source.lfs, self.upload
        body = completion(lfs, upload.taken) if upload.plan.is_tagged else b""
        was_asked, upload.may_be_complete = upload.may_be_complete, True
        answer = self.tools.run(
            Errand(last, "POST", "it does not put the parts of the object together", body, None,
                   answer_timeout_s(lfs.size_bytes), _NOT_TOGETHER)
        )  # fmt: skip
        has_become_the_object = was_asked and is_verified  # which the server is asked about next
        if answer.is_success or has_become_the_object:
            return
        upload.may_be_complete = False
        if answer.status == 409 and not upload.plan.is_tagged:  # asked anew, it says which parts it lacks
            raise TransientError("the server lacks parts of the object", "they are sent again")
        raise _Hopeless("the server does not know it any more")

    def _ask(self, action: Action, what: str) -> None:
        self.tools.run(Errand(action, "POST", what, b""))

    def _advance(self, span: Span, done_bytes: int) -> None:
        with self._lock:
            self._total += done_bytes - self._sent.get(span, 0)
            self._sent[span] = done_bytes
            self.tools.advance(self._total)


def _blocks(body: PartBody) -> Iterator[bytes]:
    while block := body.read():
        yield block
