//! The console at a terminal.

use super::editor::{Assistant, history_file};
use super::{Console, Done, Line, Style, output, parse};
use crate::error::Error;
use crate::resp::patience::Patience;
use crate::stdio;
use anstyle::AnsiColor;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use starling_protocol::admission::token::Token;
use std::process::ExitCode;

/// Lines of history that are kept.
const HISTORY_MAX: usize = 1000;

/// Until the user goes. The exit code is 0: failures were seen.
pub fn run(mut console: Console) -> Result<ExitCode, Error> {
    let mut editor = editor(console.testnet.is_some())?;
    // Without a place to keep history the console works as well.
    let history = history_file();
    let _ = history.as_ref().map(|path| editor.load_history(path));
    stdio::say("Starling console. Try: set greeting hello | explain get greeting | help | :help");
    give_up_on_ctrl_c(console.link.patience().clone());
    if let Err(error) = console.link.run(&["PING"]) {
        output::say_error(&error.to_string());
    }
    loop {
        console.link.patience().begin();
        let prompt = prompt(&mut console, &mut editor);
        let line = editor.readline(&prompt);
        console.link.patience().begin();
        match line {
            Ok(text) => match typed(&mut console, &mut editor, &text) {
                Ok(Done::Quit) => break,
                Ok(Done::Code(_)) => {}
                Err(error) => output::say_error(&error.to_string()),
            },
            // As in a shell: the line is given up, not the console.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(Error::new("the terminal cannot be read").why(error)),
        }
    }
    let _ = history.as_ref().map(|path| editor.append_history(path));
    Ok(ExitCode::SUCCESS)
}

/// What was pasted is several lines at once, and each is a command. The rest is left when a peer cannot be reached.
fn typed(
    console: &mut Console,
    editor: &mut Editor<Assistant, FileHistory>,
    text: &str,
) -> Result<Done, Error> {
    for line in text.lines() {
        if !tells_secret(line) {
            let _ = editor.add_history_entry(line);
        }
        if meant(line, editor)
            && let Done::Quit = console.line(line.as_bytes(), Style::Typed)?
        {
            return Ok(Done::Quit);
        }
    }
    Ok(Done::Code(0))
}

/// Whether a password or a token stands in it: it is not to lie in a file of lines that were typed.
fn tells_secret(line: &str) -> bool {
    let is_auth = |word: &[u8]| word.eq_ignore_ascii_case(b"auth");
    let Ok(Line::Command(call)) = parse(line.as_bytes()) else {
        // It cannot be read as it stands, and may be what was meant to be one.
        let mut words = line.split([' ', '"', '\'']).map(str::as_bytes);
        return words.any(|word| is_auth(word) || Token::is_like(word));
    };
    let logs_in = |words: &[Vec<u8>]| words.iter().any(|word| is_auth(word));
    call.is("auth")
        || call.is("hello") && logs_in(&call.typed)
        || call.typed.iter().any(|word| Token::is_like(word))
}

/// Asks once before what cannot be taken back.
fn meant(line: &str, editor: &mut Editor<Assistant, FileHistory>) -> bool {
    let Some(what) = final_step(line) else { return true };
    let answer = editor.readline(&format!("{what}. Go on? [y/N] "));
    answer.is_ok_and(|answer| matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn final_step(line: &str) -> Option<&'static str> {
    let Ok(Line::Command(call)) = parse(line.as_bytes()) else { return None };
    let steps = [
        ("leave", "The peer hands its share over to the others and leaves the network"),
        ("forget", "What only that peer held is lost"),
        ("revoke", "That peer is put out, and those that it has let in"),
    ];
    steps.into_iter().find(|(name, _)| call.is(name)).map(|(_, what)| what)
}

/// While a line is typed the terminal hands Ctrl-C to the editor; else it is a signal, and ends the wait for
/// a reply instead of the console.
fn give_up_on_ctrl_c(patience: Patience) {
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                patience.give_up();
            }
        });
    });
}

fn editor(testnet: bool) -> Result<Editor<Assistant, FileHistory>, Error> {
    let failed = |error: ReadlineError| Error::new("the terminal cannot be used").why(error);
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)
        .map_err(failed)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config).map_err(failed)?;
    editor.set_helper(Some(Assistant::new(testnet)));
    Ok(editor)
}

/// `p1@testnet 3/5> `: the peer, its network, how many of the members are alive. A cut shows before any
/// command is typed.
fn prompt(console: &mut Console, editor: &mut Editor<Assistant, FileHistory>) -> (String, String) {
    let status = match console.link.status_soon() {
        Ok(status) => status,
        // A token may not ask for it, and works as well.
        Err(_) if console.link.is_connected() => {
            return coloured(&format!("{}> ", console.link.address()), AnsiColor::Green);
        }
        Err(_) => return coloured("not connected> ", AnsiColor::Red),
    };
    let text = format!(
        "{}@{} {}/{}> ",
        crate::render::plain(&status.name),
        crate::render::plain(&status.network),
        status.alive,
        status.all
    );
    let colour = if status.alive == status.all { AnsiColor::Green } else { AnsiColor::Yellow };
    if let Some(assistant) = editor.helper_mut() {
        assistant.peers = status.members.into_iter().map(|member| member.name).collect();
    }
    coloured(&text, colour)
}

/// The text without and with colour.
fn coloured(text: &str, colour: AnsiColor) -> (String, String) {
    let style = colour.on_default();
    let styled = if super::editor::colours() { format!("{style}{text}{style:#}") } else { text.to_owned() };
    (text.to_owned(), styled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_tokens_are_not_kept() {
        for line in [
            "auth secret",
            "  AUTH default secret",
            "@p2 auth secret",
            "hello 3 auth default secret",
            "token revoke stk1abc",
            "TOKEN revoke 'STK1abc'",
            "auth \"my sec",
            "hello 3 AUTH default 'my",
            "token revoke 'stk1abc",
        ] {
            assert!(tells_secret(line), "{line}");
        }
        for line in ["get auth", "hello 3", "help auth", "token revoke 7f", "get 'a", ":time on", ""] {
            assert!(!tells_secret(line), "{line}");
        }
    }

    #[test]
    fn only_what_cannot_be_taken_back_is_asked_about() {
        for line in ["leave", "LEAVE", "@p2 leave", "forget p4", "revoke p4"] {
            assert!(final_step(line).is_some(), "{line}");
        }
        for line in ["get leave", "help leave", ":quit", "\"", ""] {
            assert_eq!(final_step(line), None, "{line}");
        }
    }
}
