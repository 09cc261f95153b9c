"""Who plays: one section per kind of policy."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from configs.base import Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
LoraRank = Literal[1, 8, 16, 32, 64, 128, 256, 320, 512]


class ServingLora(Section):
    """What adapters the replicas can serve."""

    max_rank: LoraRank = 16
    """Largest rank; the values are vLLM's own."""
    max_versions: int = Field(default=8, ge=1)
    """Adapter versions that can be live at once."""
    tower: bool = True
    """Serve adapters on the vision tower and connector too, not on the language model alone."""


class EngineConfig(Section):
    """One replica: a vLLM engine and what it runs on."""

    device: Literal["cpu", "gpu"] = "cpu"
    """Which build of vLLM is installed: extra `cpu` or `gpu`."""
    num_replicas: PositiveInt = 1
    """Engines that serve this model."""
    cores: PositiveInt = 1
    """CPU cores of one replica; on device cpu the engine is bound to its own."""
    tensor_parallel: PositiveInt = 1
    """GPUs of one replica."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Weights and arithmetic."""
    max_model_len: PositiveInt = 2048
    """Most tokens of a prompt and its completion together."""
    max_num_seqs: PositiveInt = 64
    """Requests that one engine runs at once."""
    max_images: PositiveInt = 1
    """Most pictures in one prompt."""
    kv_cache_gib: PositiveFloat = 0.25
    """Memory for keys and values on device cpu."""
    gpu_memory_utilization: float = Field(default=0.85, gt=0, lt=1)
    """Share of a GPU's memory that the engine may take."""
    enforce_eager: bool = True
    """No compilation or CUDA graphs: starts fastest."""
    silence_timeout_s: PositiveFloat = 60.0
    """A replica that does not answer for this long is killed and restarted. Its engine must take
    less for one step and for loading one adapter."""
    lora: ServingLora | None = None
    """Serve LoRA adapters; none: the base model only."""

    @model_validator(mode="after")
    def _cpu_has_no_tensor_parallel(self) -> "EngineConfig":
        if self.device == "cpu" and self.tensor_parallel > 1:
            raise ValueError("tensor_parallel needs device gpu: on cpu raise cores instead")
        return self


class VllmPlayer(Section):
    """A model that Pickaxe itself serves, in a pool of vLLM replicas."""

    kind: Literal["vllm"]
    """Which kind of policy: vllm, openai, scripted or random."""
    name: Name = "vllm"
    """What the run calls this player; also its folder's name."""
    model: str = "configs/models/tiny"
    """Folder of a model, or a hub's name for one such as Qwen/Qwen3-VL-4B-Instruct."""
    adapter: str | None = None
    """Folder of a PEFT adapter to play with; none: the model as it is."""
    temperature: float = Field(default=1.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of the probability mass to sample from."""
    max_tokens: PositiveInt = 128
    """Most tokens of one completion."""
    foreign_frames: bool = False
    """A control: show the frames of another world, in which the same actions are taken. A player
    that looks plays far worse with them."""
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _adapter_needs_lora(self) -> "VllmPlayer":
        if self.adapter is not None and self.engine.lora is None:
            raise ValueError("adapter needs engine.lora: add that section, max_rank at least its r")
        return self


class OpenAIPlayer(Section):
    """A remote model behind any OpenAI-compatible endpoint."""

    kind: Literal["openai"]
    """Which kind of policy: vllm, openai, scripted or random."""
    name: Name = "openai"
    """What the run calls this player; also its folder's name."""
    model: str
    """The model's name at the endpoint."""
    base_url: str = "https://api.openai.com/v1"
    """Where the endpoint is."""
    api_key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; the key itself is never written anywhere."""
    temperature: float | None = Field(default=None, ge=0)
    """none: not sent (gpt-5-style models refuse it)."""
    max_tokens: PositiveInt = 1024
    """Most tokens of one completion."""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """What the endpoint calls that limit; older servers know max_tokens alone."""
    tool_choice: Literal["required", "auto"] = "required"
    """Whether the endpoint must answer with the tool."""
    strict: bool = False
    """Mark the tool as strict: the endpoint then holds the arguments to its schema (vLLM, some
    OpenAI models); others refuse the field."""
    timeout_s: PositiveFloat = 60.0
    """For one attempt."""
    max_retries: int = Field(default=4, ge=0)
    """After 408, 409, 429, 5xx, time-outs, cut connections and answers that are no completion."""
    max_concurrency: PositiveInt = 8
    """Requests in flight, all workers together."""
    requests_per_minute: PositiveFloat | None = None
    """Rate limit, all workers together; none: unlimited."""
    usd_per_million_prompt_tokens: float = Field(default=0.0, ge=0)
    """Its price, for `cost_usd` in traces."""
    usd_per_million_completion_tokens: float = Field(default=0.0, ge=0)
    """Its price, for `cost_usd` in traces."""

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        if "@" in url or "?" in url:
            raise ValueError("give the address alone: this setting is stored and shown")
        return url


class ScriptedPlayer(Section):
    """The embedded teacher: sees what its view has shown so far, and remembers it."""

    kind: Literal["scripted"]
    """Which kind of policy: vllm, openai, scripted or random."""
    name: Name = "teacher"
    """What the run calls this player; also its folder's name."""
    random_action_share: float = Field(default=0.0, ge=0, le=1)
    """Share of decisions replaced by one random action, to show how to recover."""


class RandomPlayer(Section):
    """Legal calls, actions drawn evenly."""

    kind: Literal["random"]
    """Which kind of policy: vllm, openai, scripted or random."""
    name: Name = "random"
    """What the run calls this player; also its folder's name."""
    num_actions: PositiveInt = 1
    """Actions in a call."""


Player = Annotated[
    VllmPlayer | OpenAIPlayer | ScriptedPlayer | RandomPlayer, Field(discriminator="kind")
]
