"""Sizes of the voice from the constructor values that recorded runs keep (`config.json`)."""

from fac_jax.checkpoint.json_files import Section
from fac_jax.codec.cosyvoice.config import DiTConfig, FlowConfig, TokenizerConfig, VocoderConfig
from fac_jax.types import InputError


def tokenizer_config(values: Section) -> TokenizerConfig:
    """Returns the sizes of an S3TokenizerV3."""
    return TokenizerConfig(
        mel_bins=values.size("n_mels"),
        width=values.size("n_audio_state"),
        num_heads=values.size("n_audio_head"),
        depth=values.size("n_audio_layer"),
    )


def flow_config(values: Section, steps: int) -> FlowConfig:
    """Returns the sizes of a CausalMaskedDiffWithDiT, with `steps` Euler steps of its solver."""
    decoder = values.section("decoder")
    estimator = decoder.section("estimator")
    solver = decoder.section("cfm_params")
    for key, word in {"solver": "euler", "t_scheduler": "cosine"}.items():
        if solver.word(key, word) != word:
            raise InputError(f"{solver.where}: {key} is {solver.word(key)!r}, only {word!r} is known")
    return FlowConfig(
        vocab_size=values.size("vocab_size"),
        mel_bins=values.size("output_size"),
        speaker_width=values.size("spk_embed_dim"),
        token_frames=values.size("token_mel_ratio"),
        lookahead=values.size("pre_lookahead_len"),
        lookahead_width=values.section("pre_lookahead_layer").size("channels"),
        steps=steps,
        guidance=solver.number("inference_cfg_rate"),
        dit=DiTConfig(
            width=estimator.size("dim"),
            depth=estimator.size("depth"),
            num_heads=estimator.size("heads"),
            head_dim=estimator.size("dim_head"),
            mlp_ratio=estimator.size("ff_mult"),
            chunk=estimator.size("static_chunk_size"),
        ),
    )


def vocoder_config(values: Section) -> VocoderConfig:
    """Returns the sizes of a CausalHiFTGenerator."""
    transform, f0 = values.section("istft_params"), values.section("f0_predictor")
    return VocoderConfig(
        mel_bins=values.size("in_channels"),
        channels=values.size("base_channels"),
        rate=values.size("sampling_rate"),
        harmonics=values.size("nb_harmonics") + 1,
        sine_amplitude=values.number("nsf_alpha"),
        noise=values.number("nsf_sigma"),
        voiced_threshold=values.number("nsf_voiced_threshold"),
        upsample_rates=values.numbers("upsample_rates"),
        upsample_widths=values.numbers("upsample_kernel_sizes"),
        fft=transform.size("n_fft"),
        hop=transform.size("hop_len"),
        block_widths=values.numbers("resblock_kernel_sizes"),
        block_dilations=_dilations(values, "resblock_dilation_sizes"),
        source_widths=values.numbers("source_resblock_kernel_sizes"),
        source_dilations=_dilations(values, "source_resblock_dilation_sizes"),
        slope=values.number("lrelu_slope"),
        limit=values.number("audio_limit"),
        lookahead=values.size("conv_pre_look_right"),
        f0_channels=f0.size("cond_channels"),
    )


def _dilations(values: Section, key: str) -> tuple[tuple[int, ...], ...]:
    rows = values.values.get(key)
    if not isinstance(rows, list):
        raise InputError(f"{values.where}: {key} must be a list of lists of whole numbers")
    rows_by_number = Section({str(i): row for i, row in enumerate(rows)}, f"{values.where}: {key}")
    return tuple(rows_by_number.numbers(str(i)) for i in range(len(rows)))
