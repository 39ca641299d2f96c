//! Arguments that are described to the parser only if their command is the one that was given: to describe those of all
//! commands would take longer than most of what a command does before it asks the kernel.

use clap::{ArgMatches, Args, Command, Error, FromArgMatches, builder::Resettable};

/// A command's arguments. What `--help` says of the command among others stands where the command is listed.
#[derive(Debug)]
pub(super) struct Later<T>(pub(super) Box<T>);

impl<T: Args> Args for Later<T> {
    fn augment_args(command: Command) -> Command {
        command.defer(described::<T>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(T::augment_args_for_update)
    }
}

/// The command with its arguments, and with what is said of itself: arguments that several commands have would say theirs.
fn described<T: Args>(command: Command) -> Command {
    let about = command.get_about().cloned();
    T::augment_args(command).about(about.map_or(Resettable::Reset, Resettable::Value))
}

impl<T: FromArgMatches> FromArgMatches for Later<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(|arguments| Self(Box::new(arguments)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}
