//! What is sent: a command of redis-rs', or one of the two that most requests make, which are written where they are sent from.

use redis::Cmd;

use super::cluster::Slot;
use super::script::Run;

/// A command, on its way to whoever carries it out.
#[derive(Clone, Copy)]
pub(super) enum Message<'a> {
    Command(&'a Cmd),
    /// What is under a key.
    Get(Name<'a>),
    /// A script by its hash.
    Run(Run<'a>),
    /// The same by its text, for a server that has forgotten it.
    Tell(Run<'a>),
}

/// The name of a key, in two parts, so that nobody has to put them together before they are sent.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) rest: &'a [u8],
}

impl Message<'_> {
    /// Appends it as it is sent.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Command(command) => command.write_packed_command(to),
            Self::Get(Name { prefix, rest }) => {
                to.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
                number(to, b'$', prefix.len() + rest.len());
                to.extend_from_slice(prefix);
                to.extend_from_slice(rest);
                to.extend_from_slice(b"\r\n");
            }
            Self::Run(run) => write_run(to, b"EVALSHA", run.script.hash(), run),
            Self::Tell(run) => write_run(to, b"EVAL", run.script.text(), run),
        }
    }

    /// The slot of its keys; `None` if it has none, so that any node can answer it.
    pub(super) fn slot(&self) -> Option<Slot> {
        match self {
            Self::Command(command) => Slot::of(command),
            Self::Get(Name { prefix, rest }) => Some(Slot::of_key(&[*prefix, *rest].concat())),
            Self::Run(run) | Self::Tell(run) => run.keys.first().map(|key| Slot::of_key(key)),
        }
    }
}

fn write_run(to: &mut Vec<u8>, name: &[u8], script: &str, run: &Run<'_>) {
    number(to, b'*', 3 + run.keys.len() + run.arguments.len());
    word(to, name);
    word(to, script.as_bytes());
    word(to, run.keys.len().to_string().as_bytes());
    for argument in run.keys.iter().chain(run.arguments) {
        word(to, argument);
    }
}

fn word(to: &mut Vec<u8>, word: &[u8]) {
    number(to, b'$', word.len());
    to.extend_from_slice(word);
    to.extend_from_slice(b"\r\n");
}

/// A letter, a number in digits, and the end of the line. Formatting it would take longer than all the rest.
fn number(to: &mut Vec<u8>, letter: u8, mut number: usize) {
    let mut line = [0; 23];
    let mut at = line.len() - 2;
    line[at..].copy_from_slice(b"\r\n");
    loop {
        at -= 1;
        line[at] = b"0123456789"[number % 10];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    at -= 1;
    line[at] = letter;
    to.extend_from_slice(&line[at..]);
}

#[cfg(test)]
mod tests {
    use super::super::script::REPLACE;
    use super::*;

    fn written(message: Message<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_here_is_what_the_library_would_write() {
        let long = vec![b'x'; 12_345];
        let (keys, arguments): ([&[u8]; 1], [&[u8]; 3]) = ([b"a\r\n{key}"], [b"", &long, b"0123456789"]);
        let run = Run { script: &REPLACE, keys: &keys, arguments: &arguments };
        for (message, name, script) in [
            (Message::Run(run), "EVALSHA", run.script.hash()),
            (Message::Tell(run), "EVAL", run.script.text()),
        ] {
            let mut command = redis::cmd(name);
            command.arg(script).arg(1).arg(&keys).arg(&arguments);
            assert_eq!(written(message), written(Message::Command(&command)));
            assert_eq!(message.slot(), Some(Slot::of_key(b"key")));
        }
        let mut get = redis::cmd("GET");
        get.arg(&keys);
        for at in 0..=keys[0].len() {
            let (prefix, rest) = keys[0].split_at(at);
            let message = Message::Get(Name { prefix, rest });
            assert_eq!(written(message), written(Message::Command(&get)));
            assert_eq!(message.slot(), Message::Command(&get).slot());
        }
    }

    #[test]
    fn the_largest_number_fits() {
        let mut line = Vec::new();
        number(&mut line, b'$', usize::MAX);
        assert_eq!(line, format!("${}\r\n", usize::MAX).as_bytes());
    }
}
