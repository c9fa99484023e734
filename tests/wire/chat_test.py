"""`sluice chat`: one question, a pipe, and a terminal with Ctrl-C and Ctrl-D."""

import os
import pty
import signal
import subprocess
import tempfile
import time
import unittest

from running_server import binary, model

DEADLINE_S = 30
OPTIONS = ["--kv-budget", "64MiB", "--seed", "1", "--temperature", "0"]


def chat(*arguments, text=None):
    done = subprocess.run(
        [binary(), "chat", model(), *OPTIONS, *arguments],
        input=text, capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *arguments):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(binary(), [binary(), "chat", model(), *OPTIONS, *arguments])
        self.seen = ""

    def type(self, keys: str):
        os.write(self.terminal, keys.encode())

    def wait_for(self, text: str) -> str:
        """What came up to and with `text` since the last wait."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            if time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in {self.seen!r}")
            self.seen += os.read(self.terminal, 4096).decode(errors="replace")
        before, self.seen = self.seen.split(text, 1)
        return before

    def exit_code(self) -> int:
        try:
            while os.read(self.terminal, 4096):
                pass
        except OSError:
            pass  # the terminal's other end is closed
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Chat(unittest.TestCase):
    def test_one_question(self):
        code, out, _ = chat("-p", "Say hello.", "--max-tokens", "8")
        self.assertEqual(code, 0)
        self.assertGreater(len(out.strip()), 5)
        self.assertEqual(chat("-p", "Say hello.", "--max-tokens", "8")[1], out)

    def test_a_pipe_is_a_conversation(self):
        name = "My name is Zanzibar."
        code, out, _ = chat("--max-tokens", "12", text=f"{name}\nWhat is my name?\n")
        self.assertEqual(code, 0)
        forgotten = chat("--max-tokens", "12", text=f"{name}\n/clear\nWhat is my name?\n")[1]
        self.assertEqual(out.splitlines()[0], forgotten.splitlines()[0])
        self.assertNotEqual(out, forgotten)
        self.assertEqual(chat(text="/exit\nnot asked\n")[:2], (0, ""))

    def test_a_system_prompt_matters(self):
        plain = chat("-p", "Who are you?", "--max-tokens", "16")[1]
        system = ("--system", "You are a pirate.")
        pirate = chat("-p", "Who are you?", "--max-tokens", "16", *system)[1]
        self.assertNotEqual(plain, pirate)

    def test_what_does_not_fit_is_said(self):
        code, out, err = chat("--context-length", "64", "-p", "word " * 100)
        self.assertEqual((code, out), (1, ""))
        self.assertIn("maximum context length is 64 tokens", err)

    def test_a_line_that_fails_is_told_by_the_exit_code(self):
        lines = "/nothing\n" + "word " * 100 + "\n/system\n"
        code, out, err = chat("--context-length", "64", "--system", "Be short.", text=lines)
        self.assertEqual((code, out), (1, ""))
        self.assertIn("'/nothing' is no command", err)
        self.assertIn("maximum context length is 64 tokens", err)
        self.assertIn("2 of 3 lines failed", err)

    def test_wrong_usage(self):
        self.assertEqual(chat("--temperature", "9", "-p", "x")[0], 2)
        missing = subprocess.run([binary(), "chat", "/nothing.gguf", "-p", "x"],
                                 capture_output=True, text=True)  # fmt: skip
        self.assertEqual(missing.returncode, 1)
        self.assertIn("/nothing.gguf", missing.stderr)

    def test_a_terminal(self):
        terminal = Terminal("--stop", "\n\n\n\n\n")
        terminal.wait_for("> ")
        terminal.type("Tell me a very long stori\x7fy.\r")
        terminal.wait_for("story.")
        terminal.wait_for("\x1b[?2004l")  # the line is taken, Ctrl-C is a signal again
        while not terminal.seen.strip():  # the answer has begun
            terminal.seen += os.read(terminal.terminal, 4096).decode(errors="replace")
        terminal.type("\x03")
        terminal.wait_for("[stopped]")
        terminal.wait_for("tok/s")
        terminal.wait_for("> ")
        terminal.type("\x1b[A")  # up: the question again
        terminal.wait_for("story.")
        terminal.type("\x03")  # drops the line
        terminal.wait_for("> ")
        terminal.type("\x04")
        self.assertEqual(terminal.exit_code(), 0)

    def test_an_interrupt_before_a_question_does_not_stop_its_answer(self):
        terminal = Terminal("--max-tokens", "8")
        terminal.wait_for("> ")
        os.kill(terminal.pid, signal.SIGINT)
        terminal.type("Say hello.\r")
        self.assertNotIn("[stopped]", terminal.wait_for("tok/s"))
        terminal.wait_for("> ")
        terminal.type("\x04")
        self.assertEqual(terminal.exit_code(), 0)

    def test_sigint_ends_it_where_its_output_is_a_pipe(self):
        outer, inner = pty.openpty()
        process = subprocess.Popen([binary(), "chat", model(), *OPTIONS, "--max-tokens", "4"],
                                   stdin=inner, stdout=subprocess.PIPE, text=True)  # fmt: skip
        os.write(outer, b"Say hello.\n")
        self.assertTrue(process.stdout.readline())  # the whole answer: it waits for a line again
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(DEADLINE_S), -signal.SIGINT)
        process.stdout.close()
        os.close(outer)
        os.close(inner)

    def test_a_template_that_renders_nothing(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
            file.write("{# nothing #}")
            file.flush()
            code, out, err = chat("-p", "x", "--chat-template", file.name)
        self.assertEqual((code, out), (1, ""))
        self.assertIn("chat", err)

    def test_sigint_without_a_terminal_ends_it(self):
        process = subprocess.Popen([binary(), "chat", model(), *OPTIONS], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)  # fmt: skip
        process.stdin.write("Say hello.\n")
        process.stdin.flush()
        self.assertTrue(process.stdout.read(1))
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(DEADLINE_S), -signal.SIGINT)
        process.stdin.close()
        process.stdout.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
