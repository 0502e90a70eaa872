"""What a training process is told of its worker's environment: what it computes with, and nothing that opens a door."""

import re
from collections.abc import Collection, Mapping

# Where programs and libraries are, how texts are written, where models lie, and what numbers are computed on.
NAMES = frozenset(
    {
        *("HOME", "LOGNAME", "USER", "PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "TMPDIR"),
        *("LANG", "LANGUAGE", "TZ", "XDG_CACHE_HOME", "TOKENIZERS_PARALLELISM"),
        *("SSL_CERT_DIR", "SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
        *("https_proxy", "http_proxy", "no_proxy"),
    }
)
PREFIXES = (
    *("LC_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "SAFETENSORS_", "REQUESTS_", "CURL_CA_"),
    *("OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_", "ONEDNN_", "DNNL_", "ATEN_", "BITSANDBYTES_", "BNB_"),
    *("CUDA", "CUBLAS", "CUDNN", "NVIDIA_", "NCCL_", "GLOO_", "TORCH", "PYTORCH_", "TRITON_", "HIP_", "HSA_", "ROCR_"),
)
# What another machine has of its own, or what an engine sets there.
OF_THIS_MACHINE = frozenset(
    ("HOME", "LOGNAME", "USER", "PATH", "LD_LIBRARY_PATH", "TMPDIR", "XDG_CACHE_HOME", "CUDA_VISIBLE_DEVICES")
)
# Whatever else a name says: Hugging Face's own token is called HF_TOKEN. Models behind one are fetched beforehand.
SECRET = re.compile("TOKEN(?!IZERS)|SECRET|PASSW|CREDENTIAL|_KEY|AUTH", re.IGNORECASE)


def allowed(environment: Mapping[str, str], asked_for: Collection[str] = ()) -> dict[str, str]:
    """The part of a worker's environment that its training processes get, and what an admin has `asked_for` by name."""
    return {name: value for name, value in environment.items() if name in asked_for or _is_allowed(name, value)}


def _is_allowed(name: str, value: str) -> bool:
    known = name in NAMES or name.startswith(PREFIXES)
    # A proxy's address may hold a password.
    return known and not SECRET.search(name) and not (name.lower().endswith("_proxy") and "@" in value)
