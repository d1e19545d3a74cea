//! The help of a command as XML, in the elements in which absl has it for programs that read it.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

/// The help of a subcommand.
pub(super) fn of(cli: &mut Command, name: &str) -> String {
    cli.build();
    let mut text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<AllFlags>\n".to_owned();
    if let Some(command) = cli.find_subcommand(name) {
        let about = command.get_long_about().or(command.get_about());
        element(
            &mut text,
            1,
            "program",
            command.get_bin_name().unwrap_or(name),
        );
        element(
            &mut text,
            1,
            "usage",
            &about.map(ToString::to_string).unwrap_or_default(),
        );
        for argument in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            flag(&mut text, name, argument);
        }
    }
    text.push_str("</AllFlags>\n");
    text
}

fn flag(text: &mut String, command: &str, argument: &Arg) {
    let Some(name) = argument.get_long() else {
        return;
    };
    let defaults = argument.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    let default = defaults.join(",");
    let meaning = argument.get_long_help().or(argument.get_help());
    let meaning = meaning.map(ToString::to_string).unwrap_or_default();
    let is_switch = matches!(
        argument.get_action(),
        ArgAction::SetTrue | ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong
    );
    let (kind, default) = match (is_switch, default.as_str()) {
        (true, _) => ("bool", "false"),
        (false, default) => ("string", default),
    };
    text.push_str("  <flag>\n");
    element(text, 2, "key", "yes");
    element(text, 2, "file", command);
    element(text, 2, "name", name);
    if let Some(short) = argument.get_short() {
        element(text, 2, "short_name", short.encode_utf8(&mut [0; 4]));
    }
    element(text, 2, "meaning", &meaning);
    element(text, 2, "default", default);
    element(text, 2, "current", default);
    element(text, 2, "type", kind);
    let values = argument.get_possible_values();
    for value in values.iter().filter(|_| !is_switch) {
        element(text, 2, "enum_value", value.get_name());
    }
    text.push_str("  </flag>\n");
}

fn element(text: &mut String, depth: usize, name: &str, content: &str) {
    let content = content
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:1$}<{name}>{content}</{name}>", "", 2 * depth);
}
