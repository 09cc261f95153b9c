"""Which remote models read pictures, by name."""

from typing import Final

import pytest

from actors.policies.vision_names import reads_pictures_by_name
from cluster.errors import UserError

READ_PICTURES: Final = """
Qwen/Qwen2-VL-7B-Instruct Qwen/Qwen2.5-VL-72B-Instruct Qwen/Qwen3-VL-4B-Instruct qwen2.5vl:7b
Qwen/Qwen3-VL-30B-A3B-Instruct qwen-vl-max qwen/qwen3.5-35b-a3b Qwen/Qwen2.5-Omni-7B
gpt-4o gpt-4o-mini-2024-07-18 openai/gpt-4o ft:gpt-4o-2024-08-06:org::id chatgpt-4o-latest
gpt-4.1-nano gpt-4-turbo gpt-4-turbo-2024-04-09 gpt-4-vision-preview gpt-4-1106-vision-preview
gpt-5 gpt-5-mini gpt-5.1 o1 o1-2024-12-17 o1-pro o3 o3-pro o4-mini openai/o3
claude-3-5-sonnet-20241022 claude-3.7-sonnet claude-sonnet-4-5 anthropic/claude-opus-4.1
gemini-1.5-pro gemini-2.5-flash models/gemini-2.0-flash google/gemini-3-pro-preview grok-4
mistralai/Pixtral-12B-2409 llava-hf/llava-1.5-7b-hf llava-llama-3 OpenGVLab/InternVL3-8B
OpenGVLab/InternVL2_5-8B
HuggingFaceTB/SmolVLM-256M-Instruct HuggingFaceTB/SmolVLM2-2.2B-Instruct
microsoft/Phi-3-vision-128k-instruct microsoft/Phi-3.5-vision-instruct deepseek-ai/deepseek-vl2
meta-llama/Llama-3.2-11B-Vision-Instruct meta-llama/Llama-4-Scout-17B-16E-Instruct
google/gemma-3-4b-it gemma3:12b openbmb/MiniCPM-V-2_6 zai-org/GLM-4.5V
"""

TEXT_ALONE: Final = """
gpt-3.5-turbo gpt-4 gpt-4-0613 gpt-4-32k gpt-4-1106-preview gpt-4-turbo-preview gpt-oss-120b
gpt-4o-audio-preview gpt-4o-mini-transcribe o1-mini o1-preview o3-mini openai/o3-mini-2025-01-31
claude-2.1 claude-instant-1.2 grok-3-mini
Qwen/Qwen2.5-7B-Instruct Qwen/Qwen2-0.5B Qwen/Qwen3-4B Qwen/Qwen3-0.6B Qwen/Qwen3-30B-A3B
qwen3:8b Qwen/Qwen2.5-Coder-32B-Instruct Qwen/QwQ-32B qwen-max
meta-llama/Llama-3.1-8B-Instruct llama3.1:70b meta-llama/Meta-Llama-3-8B-Instruct
meta-llama/Llama-3.2-1B-Instruct meta-llama/Llama-3.3-70B-Instruct
mistralai/Mixtral-8x7B-v0.1 mistralai/Mistral-7B-Instruct-v0.3 deepseek-chat
deepseek-ai/DeepSeek-R1-Distill-Qwen-7B deepseek-ai/DeepSeek-V3 microsoft/Phi-3-mini-4k-instruct
microsoft/Phi-3.5-mini-instruct microsoft/phi-4 google/gemma-2-9b-it google/gemma-3-1b-it
"""


@pytest.mark.parametrize("model", READ_PICTURES.split())
def test_these_read_pictures(model: str) -> None:
    assert reads_pictures_by_name(model)


@pytest.mark.parametrize("model", TEXT_ALONE.split())
def test_these_read_text_alone(model: str) -> None:
    assert not reads_pictures_by_name(model)


@pytest.mark.parametrize("model", ["my-model", "marco-o1", "qwen2-audio-7b", "claude-sonnet-9", ""])
def test_an_unknown_name_asks_for_the_setting(model: str) -> None:
    with pytest.raises(UserError, match=r"set prompt\.use_vision = true or false"):
        reads_pictures_by_name(model)
