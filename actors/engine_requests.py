"""Between our words and vLLM's: a request, its sampling, its answer."""

import io
from collections.abc import Sequence
from typing import Any

from actors.prompt import chat_messages
from actors.tool import tool_schema
from cluster.types import Completion, GenerationRequest


class Prompts:
    """Writes requests in a model's chat template."""

    def __init__(self, model: str) -> None:
        """`model` is a folder."""
        from transformers import AutoProcessor

        processors: Any = AutoProcessor
        self._chat_template = processors.from_pretrained(model).apply_chat_template

    def __call__(self, request: GenerationRequest, answer_prefix: str = "") -> dict[str, Any]:
        """A request as vLLM takes it, up to and with the begin of its answer."""
        from PIL import Image

        text = self._chat_template(
            chat_messages(request.system, request.text, len(request.images)),
            tools=[tool_schema(request.max_actions)],
            add_generation_prompt=True,
            tokenize=False,
        )
        prompt: dict[str, Any] = {"prompt": text + answer_prefix}
        if request.images:
            pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in request.images]
            prompt["multi_modal_data"] = {"image": pictures}
        return prompt


def sampling(request: GenerationRequest) -> Any:
    """vLLM's `SamplingParams`, with the log-probability of each token sampled."""
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


def scoring(token_ids: Sequence[int]) -> Any:
    """vLLM's `SamplingParams` for one token, with the log-probabilities of `token_ids`."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=1.0,
        max_tokens=1,
        seed=0,
        logprob_token_ids=list(token_ids),
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def scores(output: Any, token_ids: Sequence[int]) -> dict[int, float]:
    """Token id -> nats, from the answer to `scoring`."""
    (told,) = output.outputs[0].logprobs
    return {token: float(told[token].logprob) for token in token_ids}


def completion(output: Any, request: GenerationRequest) -> Completion:
    """The answer to `sampling`."""
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
