"""The example of the contract route: objects that API clients were promised, in their order."""

from __future__ import annotations

EXAMPLE = [
    {
        "pair_id": "lightx2v-4step",
        "name": "LightX2V 4-step",
        "high": "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
        "low": "wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors",
        "both": None,
    },
    {
        "pair_id": "lightx2v-unified",
        "name": "LightX2V Unified",
        "high": None,
        "low": None,
        "both": "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors",
    },
    {
        "pair_id": "svi-v2-pro",
        "name": "SVI v2 PRO",
        "high": "SVI_v2_PRO_Wan2.2-I2V-A14B_HIGH_lora_rank_128_fp16.safetensors",
        "low": "SVI_v2_PRO_Wan2.2-I2V-A14B_LOW_lora_rank_128_fp16.safetensors",
        "both": None,
    },
]
