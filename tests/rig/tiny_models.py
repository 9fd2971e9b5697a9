"""Names of the tiny models; tiny_recipes.py makes them."""

from __future__ import annotations

# Handle -> file below models/. Loaders list a file by what follows the first folder.
FILES = {
    "i2v_high": "diffusion_models/tiny_i2v_high.safetensors",
    "i2v_low": "diffusion_models/tiny_i2v_low.safetensors",
    "t2v_high": "diffusion_models/tiny_t2v_high.safetensors",
    "t2v_low": "diffusion_models/tiny_t2v_low.safetensors",
    "wan21_i2v": "diffusion_models/tiny_wan21_i2v.safetensors",
    "i2v_high_gguf": "diffusion_models/tiny_i2v_high_Q8_0.gguf",
    "i2v_low_gguf": "diffusion_models/tiny_i2v_low_Q8_0.gguf",
    "i2v_high_q4_k_gguf": "diffusion_models/tiny_i2v_high_Q4_K.gguf",
    "i2v_low_q4_k_gguf": "diffusion_models/tiny_i2v_low_Q4_K.gguf",
    "i2v_high_fp16": "diffusion_models/tiny_i2v_high_fp16.safetensors",
    "i2v_low_fp16": "diffusion_models/tiny_i2v_low_fp16.safetensors",
    "i2v_high_fp8": "diffusion_models/tiny_i2v_high_fp8_scaled.safetensors",
    "i2v_low_fp8": "diffusion_models/tiny_i2v_low_fp8_scaled.safetensors",
    "vae": "vae/tiny_wan_vae.safetensors",
    "text_encoder": "text_encoders/tiny_clip_l.safetensors",
    "no_match": "loras/no_match.safetensors",
}
IMAGE = "tiny_input.png"
# Pair id -> role -> name as a LoRA loader lists it: the catalog's file names.
PAIRS = {
    "lightx2v-4step": {
        "high": "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
        "low": "wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors",
    },
    "lightx2v-cfg-step-distill": {
        "both": "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors",
    },
    "lightx2v-unified": {
        "both": "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors",
    },
    "seko-v1": {
        "high": "seko_v1_i2v_high_noise_model.safetensors",
        "low": "seko_v1_i2v_low_noise_model.safetensors",
    },
    "svi-v2-pro": {
        "high": "svi/SVI_v2_PRO_Wan2.2-I2V-A14B_HIGH_lora_rank_128_fp16.safetensors",
        "low": "svi/SVI_v2_PRO_Wan2.2-I2V-A14B_LOW_lora_rank_128_fp16.safetensors",
    },
}


def name(handle: str) -> str:
    """The file name as its loader lists it."""
    return FILES[handle].split("/", 1)[1]
