"""espeak-ng, one utterance to a process: what it says depends on what that process said before.

This file uses the standard library alone, because it is also run as a script: a small server that reads one
job a line, says it in a fresh child (``os.fork``, where the system has it), and answers with a line of JSON and
the samples. Where there is no fork the server says one job and ends, and `talking` starts another.

espeak-ng is a program under the GNU GPL version 3; it comes by the extra ``heschl[speak]``
(``espeakng-loader``), runs in a process of its own, and the sound that it makes is not covered by its licence.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

CAN_FORK = hasattr(os, "fork")
# espeak keeps the path of its data in a buffer of 160 bytes, and appends names of up to about 40.
LONGEST_PATH = 110
_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8 = 2, 1, 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_LEVEL = 75  # of 100, at which the loudest voices are cut off
_END_OF_LIST, _WORD, _PHONEME = 0, 1, 7


class Said(NamedTuple):
    """What espeak said: 16-bit samples, their rate in Hz, and its marks.

    phones: (first sample, espeak's mnemonic); words: (first sample, first character, characters).
    """

    samples: bytes
    rate: int
    phones: list[tuple[int, str]]
    words: list[tuple[int, int, int]]


# --- in the child ------------------------------------------------------------------------------------


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT of espeak-ng's speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


def say(library: str, data: str, text: str, voice: str, rate: int, pitch: int, swing: int) -> Said:
    """Says one text in this process, which must not have said another.

    Parameters
    ----------
    library, data: espeak's shared library and its folder espeak-ng-data.
    voice: an accent and a variant, "en-us+f2". rate: words a minute. pitch, swing: base and range, 0 to 100.
    """
    espeak = ctypes.CDLL(library)
    sample_rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), _PHONEME_EVENTS)
    if sample_rate <= 0:
        raise RuntimeError(f"espeak did not start with its data at {data}")
    if hasattr(espeak, "espeak_ng_SetRandSeed"):  # the noise of breathy voices is else seeded by the clock
        espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
    if espeak.espeak_SetVoiceByName(voice.encode()) != 0:
        raise RuntimeError(f"espeak has no voice '{voice}'")
    for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, swing), (_VOLUME, _LEVEL)):
        espeak.espeak_SetParameter(parameter, value, 0)
    samples = bytearray()
    phones: list[tuple[int, str]] = []
    words: list[tuple[int, int, int]] = []

    def heard(wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            samples.extend(ctypes.string_at(wave, 2 * count))
        number = 0
        while events[number].type != _END_OF_LIST:
            event = events[number]
            if event.type == _PHONEME:
                phones.append((event.sample, event.id.string.decode("utf-8", "replace")))
            elif event.type == _WORD:
                words.append((event.sample, event.text_position - 1, event.length))
            number += 1
        return 0

    callback = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
    )
    kept = callback(heard)  # held by a name: espeak calls it until the end
    espeak.espeak_SetSynthCallback(kept)
    told = text.encode()
    if espeak.espeak_Synth(told, ctypes.c_size_t(len(told) + 1), 0, 1, 0, _UTF8, None, None) != 0:
        raise RuntimeError(f"espeak did not say '{text}'")
    espeak.espeak_Synchronize()
    return Said(bytes(samples), sample_rate, phones, words)


def _answer(job: dict[str, Any]) -> bytes:
    try:
        said = say(**job)
        head: dict[str, Any] = {
            "bytes": len(said.samples),
            "rate": said.rate,
            "phones": said.phones,
            "words": said.words,
        }
        body = said.samples
    except Exception as error:
        head, body = {"error": str(error)}, b""
    return json.dumps(head).encode() + b"\n" + body


def _in_child(job: dict[str, Any]) -> bytes:
    """Answers one job in a forked child, so that this process never speaks."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(_answer(job))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    return answer or json.dumps({"error": f"espeak broke off (status {status})"}).encode() + b"\n"


def serve() -> None:
    """Answers jobs, one JSON object a line, until the input ends; without fork, the first alone."""
    for line in sys.stdin.buffer:
        job = json.loads(line)
        sys.stdout.buffer.write(_in_child(job) if CAN_FORK else _answer(job))
        sys.stdout.buffer.flush()
        if not CAN_FORK:
            return


# --- in the parent -----------------------------------------------------------------------------------


@contextmanager
def _short(data: Path) -> Iterator[Path]:
    """The data folder at a path that espeak can hold: itself, or a copy of its English part in a temporary one."""
    if len(os.fsencode(data)) <= LONGEST_PATH and str(data).isascii():
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="hes") as folder:
        copy = Path(folder) / "d"
        copy.mkdir()
        for name in ("en_dict", "intonations", "phondata", "phonindex", "phontab"):
            shutil.copy(data / name, copy / name)
        shutil.copytree(data / "lang" / "gmw", copy / "lang" / "gmw")
        shutil.copytree(data / "voices", copy / "voices")
        yield copy


@contextmanager
def talking(library: Path, data: Path, fork: bool = CAN_FORK) -> Iterator[Callable[..., Said]]:
    """Gives a function ``say(text, voice, rate, pitch, swing) -> Said``; every call is a fresh process.

    Parameters
    ----------
    fork: False starts a whole new interpreter for every utterance, as on systems without fork.

    Raises
    ------
    RuntimeError: from the function, where espeak does not start, knows no such voice, or breaks off.
    """
    server: subprocess.Popen[bytes] | None = None

    def ask(job: dict[str, Any]) -> Said:
        nonlocal server
        if server is None or not fork or server.poll() is not None:
            end(server)
            command = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
            server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(json.dumps(job).encode() + b"\n")
        server.stdin.flush()
        line = server.stdout.readline()
        ended = {"error": "espeak's process ended without an answer"}
        answer: dict[str, Any] = json.loads(line) if line else ended
        if "error" in answer:
            raise RuntimeError(answer["error"])
        samples = server.stdout.read(answer["bytes"])
        if len(samples) < answer["bytes"]:
            raise RuntimeError("espeak's process broke off in the middle of an utterance")
        return Said(
            samples,
            answer["rate"],
            [(s, p) for s, p in answer["phones"]],
            [(s, c, n) for s, c, n in answer["words"]],
        )

    def end(process: subprocess.Popen[bytes] | None) -> None:
        if process is not None and process.stdin is not None and process.stdout is not None:
            process.stdin.close()
            process.stdout.close()
            process.wait(timeout=10)

    with _short(data) as short:

        def speak(text: str, voice: str, rate: int = 170, pitch: int = 50, swing: int = 50) -> Said:
            return ask(
                {
                    "library": str(library),
                    "data": str(short),
                    "text": text,
                    "voice": voice,
                    "rate": rate,
                    "pitch": pitch,
                    "swing": swing,
                }
            )

        try:
            yield speak
        finally:
            end(server)


if __name__ == "__main__":
    serve()
