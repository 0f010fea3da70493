"""Completion for bash, zsh and fish: three short scripts, and the one place that knows what may come next.

It stands outside the line, beside `commands`. The scripts ask this program (`lfssync __complete WORD...`) on every Tab,
so they never grow old. The one thing to know: a shell waits for the answer, so only the table of `grammar` is read
here, and the configuration only where a mirror's name may stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lfssync.commandline.grammar import COMMANDS, GLOBAL_OPTIONS, HELP_OPTION, VERSION_OPTION, command_named
from lfssync.commandline.syntax import Argument, Command, Count, Values


@dataclass(frozen=True, slots=True)
class Answer:
    """What a shell may offer.

    Args:
        values: FOLDERS or FILES when the shell knows better than we do.
        candidates: Pairs of a word and its description, each word starting with what was typed.
    """

    values: Values = Values.ANYTHING
    candidates: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        """What the scripts read: the kind of values, then one candidate a line, with its description after a tab."""
        return (
            "\n".join([self.values.value, *(f"{word}\t{description}" for word, description in self.candidates)]) + "\n"
        )


def answer(words: Sequence[str], mirror_names: Callable[[], Sequence[str]]) -> Answer:
    """What may stand in the place of the last word.

    Args:
        words: What was typed after the program's name; the last one is being completed and may be empty.
        mirror_names: Gives the configured names; only called where one may stand.
    """
    *before, typed = words or [""]
    reading = _Reading()
    for word in before:
        reading.take(word)
    return reading.answer(typed, mirror_names)


class _Reading:
    """A command line read from left to right: the command, and what the next word can be."""

    def __init__(self) -> None:
        self._command: Command | None = None
        self._is_lost = False
        self._wants_value: Argument | None = None
        self._positionals: list[str] = []
        self._options: set[str] = set()

    def take(self, word: str) -> None:
        """Read one finished word."""
        if self._wants_value is not None:
            self._wants_value = None
        elif word.startswith("-"):
            self._options.add(word)
            option = next((option for option in self._known_options() if word in option.names), None)
            self._wants_value = option if option and option.takes is not Count.SWITCH else None
        elif self._command is None:
            self._command = command_named(word)
            self._is_lost = self._command is None
        else:
            self._positionals.append(word)

    def answer(self, typed: str, mirror_names: Callable[[], Sequence[str]]) -> Answer:
        """What may stand in the place of `typed`."""
        if self._wants_value is not None:
            return self._values(self._wants_value, typed, mirror_names)
        if typed.startswith("-"):
            free = [option for option in self._known_options() if not self._options.intersection(option.names)]
            return _matching(typed, [(option.names[-1], option.help) for option in free])
        if self._is_lost:
            return Answer()
        if self._command is None:
            return _matching(typed, [(command.name, command.summary) for command in COMMANDS])
        arguments = self._next_positionals(self._command)
        if not arguments:
            return Answer()
        found = self._values(arguments[0], typed, mirror_names)
        is_name_left_out = [one.takes for one in arguments[:2]] == [Count.AT_MOST_ONE, Count.ONE]
        return self._values(arguments[1], typed, mirror_names) if is_name_left_out and not found.candidates else found

    def _known_options(self) -> tuple[Argument, ...]:
        own = self._command.options if self._command else ()
        return (*own, *GLOBAL_OPTIONS, HELP_OPTION, VERSION_OPTION)

    def _next_positionals(self, command: Command) -> Sequence[Argument]:
        """The arguments from the one in whose place the next word stands."""
        arguments = command.positionals
        if len(self._positionals) < len(arguments):
            return arguments[len(self._positionals) :]
        return arguments[-1:] if arguments and arguments[-1].takes is Count.ANY else ()

    def _values(self, argument: Argument, typed: str, mirror_names: Callable[[], Sequence[str]]) -> Answer:
        if argument.choices:
            return _matching(typed, [(choice, "") for choice in argument.choices])
        if argument.values is not Values.MIRRORS:
            return Answer(argument.values)
        return _matching(typed, [(name, "mirror") for name in mirror_names() if name not in self._positionals])


def _matching(typed: str, candidates: Sequence[tuple[str, str]]) -> Answer:
    return Answer(candidates=tuple(pair for pair in candidates if pair[0].startswith(typed)))


def named_configuration(words: Sequence[str]) -> str | None:
    """The configuration file that the command line names, if it does."""
    return next((value for option, value in pairwise(words[:-1]) if option == "--config"), None)


SCRIPTS = {
    "bash": """\
# Completion of lfssync for bash. In ~/.bashrc: source <(lfssync completion bash)
_lfssync() {
    local -a answer
    mapfile -t answer < <("${1/#\\~/$HOME}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    COMPREPLY=("${answer[@]:1}")
    COMPREPLY=("${COMPREPLY[@]%%$'\\t'*}")
    case ${answer[0]} in
        folders) compopt -o dirnames -o nospace ;;
        files) compopt -o default ;;
    esac
}
complete -F _lfssync lfssync
""",
    "zsh": """\
#compdef lfssync
# Completion of lfssync for zsh. In ~/.zshrc: source <(lfssync completion zsh)
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_lfssync() {
    local -a answer candidates
    answer=("${(@f)$(${words[1]/#\\~/$HOME} __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    case $answer[1] in
        folders) _files -/ ;;
        files) _files ;;
        *)
            candidates=("${(@)answer[2,-1]//:/\\\\:}")
            candidates=("${(@)candidates/$'\\t'/:}")
            _describe lfssync candidates
            ;;
    esac
}
compdef _lfssync lfssync
""",
    "fish": """\
# Completion of lfssync for fish. In ~/.config/fish/config.fish: lfssync completion fish | source
function __lfssync_complete
    set -l typed (commandline -ct)
    set -l answer (lfssync __complete (commandline -opc)[2..] "$typed" 2>/dev/null)
    switch "$answer[1]"
        case folders
            __fish_complete_directories "$typed"
        case files
            __fish_complete_path "$typed"
        case '*'
            printf '%s\\n' $answer[2..]
    end
end
complete -c lfssync -f -a '(__lfssync_complete)'
""",
}
"""The script of each shell; they hold no names of commands, so they stay right when commands are added."""
