"""Exit codes of commands."""

import subprocess
import sys

PROGRAM = """
import sys
from lt4rec_tf.core.command import exit_on_error
def main(argv):
    for number in range(100_000):
        print(number)
sys.exit(exit_on_error(main, sys.argv))
"""


def test_a_command_whose_output_is_no_longer_read_ends_without_a_word():
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
