"""Which remote models read pictures, told by their names (`prompt.use_vision = "auto"`)."""

import re
from typing import Final

from cluster.errors import UserError

# The first pattern found in the lower-cased name decides, so exceptions stand above their family.
_TABLE: Final = tuple(
    (re.compile(r"(?<![a-z0-9])" + pattern), reads)
    for pattern, reads in (
        # Whatever says so itself: Qwen2.5-VL, qwen2.5vl, InternVL3, llama-3.2-vision, phi-3-vision.
        (r"[a-z0-9.-]*(vl|vlm)\d*(\.\d+)?(?![a-z0-9])", True),
        (r"[a-z0-9.-]*vision(?![a-z0-9])", True),
        # OpenAI
        (r"gpt-4o[a-z0-9-]*(audio|realtime|transcribe|tts)", False),
        (r"gpt-4-turbo-preview", False),
        (r"(chatgpt-4o|gpt-4o|gpt-4\.1|gpt-4\.5|gpt-4-turbo|gpt-5)", True),
        (r"(gpt-3\.5|gpt-4(?![\d.])|gpt-oss)", False),
        (r"(?<!-)(o1-mini|o1-preview|o3-mini)", False),
        (r"(?<!-)(o1|o3|o4-mini)(?![a-z0-9])", True),
        # Others behind an API
        (r"claude-(3|4|(opus|sonnet|haiku)-4)(?!\d)", True),
        (r"claude-(2|instant)", False),
        (r"gemini-(1\.5|2|3)", True),
        (r"grok-4(?![\d])", True),
        (r"grok-3(?![\d])", False),
        # Open weights that read pictures
        (r"(qwen3\.5|qvq|qwen(2\.5|3)-omni)", True),
        (
            r"(pixtral|llava|bakllava|molmo|idefics|paligemma|moondream|minicpm-v|glm-4[.\d]*v)",
            True,
        ),
        (r"phi-4-multimodal", True),
        (r"llama-?4", True),
        (r"gemma-?3[:-](4b|12b|27b)", True),
        # Open weights that do not
        (r"qwen(1\.5|2|2\.5|3)?[:-]\d+(\.\d+)?b", False),
        (r"(qwen(2\.5|3)-coder|qwen3-next|qwen-(max|plus|turbo)|qwq)", False),
        (r"llama-?(2|3\.1|3\.3|3)(?![\d.])", False),
        (r"llama-?3\.2[:-](1b|3b)", False),
        (
            r"(mixtral|mistral-7b|deepseek-(chat|reasoner|v2|v3|r1)|phi-(2|3|3\.5|4)(?![\d.]))",
            False,
        ),
        (r"gemma-?(2(?!\d)|3[:-]1b)", False),
    )
)


def reads_pictures_by_name(model: str) -> bool:
    """Whether a remote model takes pictures in its prompts.

    Raises:
        UserError: the name is not known. Playing on would be blind, or refused by the endpoint.
    """
    for pattern, reads in _TABLE:
        if pattern.search(model.lower()):
            return reads
    raise UserError(
        f"whether {model!r} reads pictures can't be told from its name: "
        "set prompt.use_vision = true or false"
    )
