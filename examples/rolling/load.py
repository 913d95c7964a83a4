"""A client that asks without pause, by new connections and by ones that stay open, and counts every error."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from typing import Self


class Load:
    """Asks until `stop`; what went wrong is in ``errors``, what was answered in ``answers``."""

    def __init__(self, host: str, port: int, *, fresh: int = 2, kept: int = 2) -> None:
        self.answers: Counter[str] = Counter()
        self.errors: list[str] = []
        self._address = (host, port)
        self._changed = threading.Condition()
        self._stop = False
        self._threads = [threading.Thread(target=self._ask, args=(number < kept,)) for number in range(fresh + kept)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stop = True
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def count(self) -> int:
        """How many answers came."""
        return self.answers.total()

    def more(self, answers: int, timeout: float = 60.0) -> None:
        """Wait for so many further answers, or for an error."""
        with self._changed:
            wanted = self.count + answers
            if not self._changed.wait_for(lambda: self.count >= wanted or bool(self.errors), timeout):
                self.errors.append(f"fewer than {answers} answers within {timeout:g} s")

    def _ask(self, keep: bool) -> None:  # noqa: FBT001 - called by Thread only
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        while not self._stop:
            try:
                # Closed by the server's own word it is opened anew by itself, and never after an error.
                connection.request("GET", "/")
                response = connection.getresponse()
                body = response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                self._note(error=f"{'kept' if keep else 'fresh'}: {type(error).__name__}: {error}")
                connection.close()
            else:
                self._note(answer=body)
                if not keep:
                    connection.close()
        connection.close()

    def _note(self, *, answer: str | None = None, error: str | None = None) -> None:
        with self._changed:
            if answer is not None:
                self.answers[answer] += 1
            if error is not None:
                self.errors.append(error)
            self._changed.notify_all()
