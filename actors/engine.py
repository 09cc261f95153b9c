"""One vLLM engine: prompts in, completions out, several adapter versions served at once.

Knows nothing of Ray. vLLM runs the model in a child process of its own.
"""

import asyncio
import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from actors.adapter import check_adapter, digest
from actors.engine_settings import engine_arguments
from actors.model_files import locate
from actors.prompt import chat_messages
from actors.tool import tool_schema
from cluster.errors import PolicyError, RunError, UserError
from cluster.types import Completion, GenerationRequest
from configs.player import EngineConfig

_SHARED_MEMORY: Final = Path("/dev/shm")


class Engine:
    """Construct with `engine_environment` in place, in a process bound to the engine's cores."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        from transformers import AutoProcessor
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        model = locate(model)
        self._config = config
        self._in_flight: Counter[int] = Counter()
        self._adapters: dict[int, Any] = {}
        self._leaving: dict[int, asyncio.Event] = {}
        self._used_versions: set[int] = {0}
        self._loading = asyncio.Lock()
        processors: Any = AutoProcessor
        self._chat_template = processors.from_pretrained(model).apply_chat_template
        self._llm: Any = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**engine_arguments(model, config))
        )

    @property
    def versions(self) -> tuple[int, ...]:
        """What a request may name, oldest first; 0 is the base model."""
        return (0, *(version for version in self._adapters if version not in self._leaving))

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

    def prepare(self, request: GenerationRequest) -> tuple[dict[str, Any], Any]:
        """A request as vLLM takes it: prompt and sampling parameters."""
        return self._prompt(request), _sampling(request)

    async def generate(self, request: GenerationRequest, request_id: str) -> Completion:
        """Answer one request.

        Raises:
            PolicyError: this request can't be served (unknown version, prompt too long).
            RunError: the engine is dead.
        """
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        if request.version not in self.versions:
            raise PolicyError(f"version {request.version} is not among {self.versions} served here")
        self._in_flight[request.version] += 1
        try:
            adapter = self._adapters.get(request.version)
            (output,) = [
                output
                async for output in self._llm.generate(
                    self._prompt(request), _sampling(request), request_id, lora_request=adapter
                )
            ]
        except (VLLMClientError, ValueError) as error:
            raise PolicyError(f"the engine refuses the request: {error}") from None
        except EngineDeadError:
            raise RunError(self.cause_of_death()) from None
        except EngineGenerateError as error:
            raise PolicyError(f"the engine failed at the request: {error.__cause__!r}") from None
        finally:
            self._in_flight[request.version] -= 1
            if request.version in self._leaving and not self._in_flight[request.version]:
                self._leaving[request.version].set()
        return _completion(output, request)

    async def load(self, version: int, files: Mapping[str, bytes]) -> str:
        """Serve an adapter under a version number never used before.

        Args:
            version: at least 1.
            files: the adapter's folder: file name -> content.

        Returns:
            The digest of what was loaded.

        Raises:
            UserError: the adapter can't be served as it was trained.
            RunError: the number was used before, or there is no room for another version.
        """
        async with self._loading:
            modules = self._admit(version, files)
            self._used_versions.add(version)
            self._adapters[version] = await self._add(version, files, len(modules))
        return digest(files)

    async def unload(self, version: int) -> None:
        """Take no more requests for a version, wait for those in flight, and let it go.

        Raises:
            RunError: the version is not served here.
        """
        if version == 0 or version not in self.versions:
            raise RunError(f"version {version} is not among {self.versions[1:]} loaded here")
        self._leaving[version] = asyncio.Event()
        if self._in_flight[version]:
            await self._leaving[version].wait()
        await self._llm.remove_lora(version)
        del self._adapters[version], self._leaving[version], self._in_flight[version]

    def close(self) -> None:
        """End the engine's process; the engine is of no use afterwards."""
        self._llm.shutdown(timeout=1)
        del self._llm  # its finaliser would fail in an interpreter that is half gone

    def _admit(self, version: int, files: Mapping[str, bytes]) -> frozenset[str]:
        lora = self._config.lora
        if lora is None:
            raise UserError("this engine serves no adapters: add the section engine.lora")
        modules = check_adapter(files, lora)
        if version in self._used_versions:
            raise RunError(f"version {version} was used before: every adapter needs a new number")
        if len(self._adapters) >= lora.max_versions:
            raise RunError(
                f"versions {self.versions[1:]} fill engine.lora.max_versions {lora.max_versions}: "
                "unload one first"
            )
        return modules

    async def _add(self, version: int, files: Mapping[str, bytes], num_modules: int) -> Any:
        from vllm.lora.request import LoRARequest

        folder = _private_folder(sum(map(len, files.values())))
        # Name, id and path are all new: vLLM's caches are keyed by one or another of them.
        adapter = LoRARequest(f"policy-v{version}", version, str(folder))
        try:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            await self._llm.add_lora(adapter)
        finally:
            # The engine holds the matrices, and never reads again what it need not evict.
            shutil.rmtree(folder)
        try:
            await self._prove(version, num_modules)
        except UserError:
            await self._llm.remove_lora(version)
            raise
        return adapter

    async def _prove(self, version: int, num_modules: int) -> None:
        for loaded, unused in await self._llm.collective_rpc("adapter_modules", args=(version,)):
            if loaded == num_modules and not unused:
                continue
            hint = "" if self._config.lora and self._config.lora.tower else " (engine.lora.tower?)"
            raise UserError(
                f"the engine loaded {loaded} of the adapter's {num_modules} modules and would "
                f"ignore {unused}{hint}: leave these out of the adapter's target_modules"
            )

    def _prompt(self, request: GenerationRequest) -> dict[str, Any]:
        from PIL import Image

        text = self._chat_template(
            chat_messages(request.system, request.text, len(request.images)),
            tools=[tool_schema(request.max_actions)],
            add_generation_prompt=True,
            tokenize=False,
        )
        prompt: dict[str, Any] = {"prompt": text}
        if request.images:
            pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in request.images]
            prompt["multi_modal_data"] = {"image": pictures}
        return prompt


def _sampling(request: GenerationRequest) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.max_tokens,
        seed=request.seed,
        logprobs=0,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _completion(output: Any, request: GenerationRequest) -> Completion:
    answer = output.outputs[0]
    token_ids = tuple(answer.token_ids)
    return Completion(
        text=answer.text,
        finish_reason=answer.finish_reason or "",
        prompt_ids=tuple(output.prompt_token_ids),
        token_ids=token_ids,
        logprobs=tuple(
            float(step[token].logprob)
            for token, step in zip(token_ids, answer.logprobs, strict=True)
        ),
        temperature=request.temperature,
        version=request.version,
        num_prompt_tokens=len(output.prompt_token_ids),
        num_completion_tokens=len(token_ids),
    )


def _private_folder(num_bytes: int) -> Path:
    """On tmpfs where that has room to spare, else where temporary files go."""
    has_room = _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > 4 * num_bytes
    return Path(
        tempfile.mkdtemp(prefix="pickaxe-adapter-", dir=_SHARED_MEMORY if has_room else None)
    )
