"""A Transport that answers from a table and remembers what it was asked. Used by the tests of the client and of observe."""

from collections.abc import Callable, Mapping

from controller.pve.transport import HttpFailure, Json, Params

Answer = Json | HttpFailure | Callable[[], Json]


class Scripted:
    """answers: `METHOD path` without parameters -> what `data` holds, or the failure; callables are asked each time."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, str, dict[str, object]]] = []

    def _answer(self, method: str, path: str, params: Params | None) -> Json:
        self.asked.append((method, path, dict(params or {})))
        answer = self.answers.get(
            f"{method} {path}", HttpFailure(status=501, reason=f"Method '{method} {path}' not implemented")
        )
        if isinstance(answer, HttpFailure):
            raise answer
        return answer() if callable(answer) else answer

    async def get(self, path: str, params: Params | None = None) -> Json:
        return self._answer("GET", path, params)

    async def post(self, path: str, params: Params | None = None) -> Json:
        return self._answer("POST", path, params)

    async def put(self, path: str, params: Params | None = None) -> Json:
        return self._answer("PUT", path, params)

    async def delete(self, path: str, params: Params | None = None) -> Json:
        return self._answer("DELETE", path, params)

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]
