"""Write the result that `fervid selftest` expects: `python -m tests.helpers.self_test_expectation`."""

import json

from fervid.config import Config
from fervid.models import load_models
from fervid.pipeline import process_video
from fervid.self_test import expectation, sample


def main() -> None:
    """Process the sample video on the CPU in fp32 and write the .json beside it, one line per row."""
    config = Config(device="cpu", precision="fp32")
    facts = expectation(process_video(sample(), None, config, load_models(config)))
    rows = ",\n    ".join(json.dumps(row) for row in facts.pop("rows"))
    head = json.dumps(facts, indent=2).removesuffix("\n}")
    sample().with_suffix(".json").write_text(f'{head},\n  "rows": [\n    {rows}\n  ]\n}}\n', "utf-8")


if __name__ == "__main__":
    main()
