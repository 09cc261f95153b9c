"""One vLLM engine: prompts in, completions out, several adapter versions served at once.

Knows nothing of Ray. vLLM runs the model in a child process of its own.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from actors.adapter import check_adapter
from actors.adapter_folder import adapter_folder
from actors.engine_requests import Prompts, completion, sampling, scores, scoring
from actors.engine_settings import engine_arguments
from actors.model_files import locate
from cluster.adapter_files import digest
from cluster.canary import Canary, disagreement
from cluster.errors import PolicyError, RunError, UserError
from cluster.types import Completion, GenerationRequest
from configs.player import EngineConfig, ServingLora


class Engine:
    """Construct with `engine_environment` in place, in a process bound to the engine's cores."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        model = locate(model)
        self._lora = config.lora
        self._in_flight: Counter[int] = Counter()
        self._adapters: dict[int, Any] = {}
        self._leaving: dict[int, asyncio.Event] = {}
        self._has_left = asyncio.Event()
        self._digests: dict[int, str] = {}
        """Of every version ever loaded: a number is one adapter's for good."""
        self._loading = asyncio.Lock()
        self._prompt = Prompts(model)
        self._llm: Any = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**engine_arguments(model, config))
        )

    @property
    def versions(self) -> tuple[int, ...]:
        """What a request may name, oldest first; 0 is the base model."""
        served = (version for version in self._adapters if version not in self._leaving)
        return (0, *sorted(served))

    @property
    def num_in_flight(self) -> int:
        return self._in_flight.total()

    @property
    def is_dead(self) -> bool:
        return bool(self._llm.errored)

    def cause_of_death(self) -> str:
        """What is known here of a dead engine; its own log has the traceback."""
        manager = self._llm.engine_core.resources.engine_manager
        ends = [f"{process.name} ended with {process.exitcode}" for process in manager.processes]
        return "the engine is dead: " + ", ".join(ends)

    @property
    def bare(self) -> Any:
        """vLLM's own engine, for those who measure against it."""
        return self._llm

    def prepare(
        self, request: GenerationRequest, answer_prefix: str = ""
    ) -> tuple[dict[str, Any], Any]:
        """A request as vLLM takes it: prompt and sampling parameters."""
        return self._prompt(request, answer_prefix), sampling(request)

    async def ping(self) -> None:
        """Returns once the engine's own process has answered.

        Raises:
            RunError: it is dead.
        """
        with self._alive():
            await self._llm.list_loras()

    async def generate(self, request: GenerationRequest, request_id: str) -> Completion:
        """Answer one request.

        Raises:
            PolicyError: this request can't be served (unknown version, prompt too long).
            RunError: the engine is dead.
        """
        version = request.version
        if version not in self.versions:
            raise PolicyError(f"version {version} is not among {self.versions} served here")
        self._in_flight[version] += 1
        try:
            with self._answering():
                adapter = self._adapters.get(version)
                output = await self._answer(*self.prepare(request), request_id, adapter)
        finally:
            self._in_flight[version] -= 1
            if version in self._leaving and not self._in_flight[version]:
                self._leaving[version].set()
        return completion(output, request)

    async def load(
        self, version: int, files: Mapping[str, bytes], canary: Canary | None = None
    ) -> str:
        """Prove an adapter and serve it; one that is served already stays as it is.

        Waits for versions that are being unloaded where it needs their room.

        Args:
            version: at least 1; a number that another adapter has had is refused.
            files: the adapter's folder: file name -> content.
            canary: None: what the adapter answers is not compared with the learner's word.

        Returns:
            The digest of what was loaded.

        Raises:
            UserError: the adapter can't be served as it was trained.
            RunError: the number is another adapter's, there is no room for another version, the
                canary is answered otherwise than by the learner, or the engine is dead.
        """
        adapter_digest = digest(files)
        async with self._loading:
            if self._digests.get(version, adapter_digest) != adapter_digest:
                raise RunError(f"version {version} is another adapter's: give it a new number")
            if version not in self.versions:
                modules = check_adapter(files, self._serving_lora())
                await self._make_room(version)
                self._digests[version] = adapter_digest
                with self._alive():
                    self._adapters[version] = await self._add(version, files, len(modules), canary)
        return adapter_digest

    async def unload(self, version: int) -> None:
        """Take no more requests for a version, wait for those in flight, and let it go.

        Raises:
            RunError: the version is not served here, or the engine is dead.
        """
        if version == 0 or version not in self.versions:
            raise RunError(f"version {version} is not among {self.versions[1:]} loaded here")
        self._leaving[version] = asyncio.Event()
        if self._in_flight[version]:
            await self._leaving[version].wait()
        with self._alive():
            await self._llm.remove_lora(version)
        del self._adapters[version], self._leaving[version], self._in_flight[version]
        self._has_left.set()

    async def next_token(self, canary: Canary, adapter: Any) -> dict[int, float]:
        """What the engine says of the canary's tokens: id -> nats.

        Args:
            canary: whose `request.version` is not looked at.
            adapter: vLLM's `LoRARequest`; None is the base model.
        """
        tokens = tuple(canary.logprobs)
        name = f"canary-{adapter.lora_int_id if adapter else 0}"
        with self._answering():
            prompt = self._prompt(canary.request, canary.answer_prefix)
            return scores(await self._answer(prompt, scoring(tokens), name, adapter), tokens)

    def close(self) -> None:
        """End the engine's process; the engine is of no use afterwards."""
        self._llm.shutdown(timeout=1)
        del self._llm  # its finaliser would fail in an interpreter that is half gone

    async def _answer(
        self, prompt: dict[str, Any], parameters: Any, request_id: str, adapter: Any
    ) -> Any:
        answers = self._llm.generate(prompt, parameters, request_id, lora_request=adapter)
        (output,) = [output async for output in answers]
        return output

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Within, vLLM's failures are our own: PolicyError, or RunError where it is dead."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineGenerateError

        try:
            with self._alive():
                yield
        except (VLLMClientError, ValueError) as error:
            raise PolicyError(f"the engine refuses the request: {error}") from None
        except EngineGenerateError as error:
            raise PolicyError(f"the engine failed at the request: {error.__cause__!r}") from None

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        """Within, the engine's death is a RunError."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            yield
        except EngineDeadError:
            raise RunError(self.cause_of_death()) from None

    def _serving_lora(self) -> ServingLora:
        if self._lora is None:
            raise UserError("this engine serves no adapters: add the section engine.lora")
        return self._lora

    async def _make_room(self, version: int) -> None:
        max_versions = self._serving_lora().max_versions
        while len(self._adapters) >= max_versions or version in self._leaving:
            if not self._leaving:
                raise RunError(
                    f"versions {self.versions[1:]} fill engine.lora.max_versions {max_versions}: "
                    "unload one first"
                )
            self._has_left.clear()
            await self._has_left.wait()

    async def _add(
        self, version: int, files: Mapping[str, bytes], num_modules: int, canary: Canary | None
    ) -> Any:
        with adapter_folder(files) as folder:
            adapter = self._adapter(version, folder)
            # The engine holds the matrices, and never reads again what it need not evict.
            await self._llm.add_lora(adapter)
        try:
            await self._prove(adapter, num_modules, canary)
        except (UserError, RunError, PolicyError):
            await self._llm.remove_lora(version)
            raise
        return adapter

    def _adapter(self, version: int, folder: str) -> Any:
        """Name, id and path are all new: vLLM's caches are keyed by one or another of them."""
        from vllm.lora.request import LoRARequest

        return LoRARequest(f"policy-v{version}", version, folder)

    async def _prove(self, adapter: Any, num_modules: int, canary: Canary | None) -> None:
        version = adapter.lora_int_id
        for loaded, unused in await self._llm.collective_rpc("adapter_modules", args=(version,)):
            if loaded == num_modules and not unused:
                continue
            hint = "" if self._serving_lora().tower else " (engine.lora.tower?)"
            raise UserError(
                f"the engine loaded {loaded} of the adapter's {num_modules} modules and would "
                f"ignore {unused}{hint}: leave these out of the adapter's target_modules"
            )
        if canary is None:
            return
        contradiction = disagreement(canary, await self.next_token(canary, adapter))
        if contradiction:
            raise RunError(f"version {version} is not what the learner has: {contradiction}")
