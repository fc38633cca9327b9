"""From a portrait, or a sentence, to a rigged head."""

import os

# Threads that spin while they wait for each other crawl as soon as another program wants one of their cores: an avatar
# then took seven times as long. They have to sleep instead, and are told so before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
