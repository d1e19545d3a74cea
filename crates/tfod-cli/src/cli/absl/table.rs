//! The flags of absl, and of modules that the official exporter loads, beside its own: what `--helpfull` lists there.

/// How a flag is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// True or false: `--flag`, `--noflag`, `--flag=true`.
    Switch,
    /// With a value: `--flag=value`, `--flag value`.
    Setting,
}

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Decides what is logged and where, which is nothing here.
    Logging,
    /// Is for a program in Python, and has no effect here, which is said.
    Python,
    /// Is another name for this argument.
    Same(&'static str),
    /// Asks for something else than an export.
    Asks(Request),
}

/// What the command line can ask for in place of an export, whatever else it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Request {
    /// The help as XML.
    HelpXml,
    /// Whether the definitions of flags go together.
    CheckDefinitions,
}

/// A flag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) meaning: Meaning,
}

/// All of them, but `--flagfile`, `--undefok` and those that the parser knows.
pub(super) const FLAGS: [Flag; 31] = {
    use Form::{Setting, Switch};
    use Meaning::{Asks, Logging, Python, Same};
    const fn flag(name: &'static str, form: Form, meaning: Meaning) -> Flag {
        Flag {
            name,
            form,
            meaning,
        }
    }
    [
        // absl.logging
        flag("alsologtostderr", Switch, Logging),
        flag("logtostderr", Switch, Logging),
        flag("showprefixforinfo", Switch, Logging),
        flag("verbosity", Setting, Logging),
        flag("v", Setting, Logging),
        flag("stderrthreshold", Setting, Logging),
        flag("log_dir", Setting, Logging),
        flag("logger_levels", Setting, Logging),
        // absl.app
        flag("helpshort", Switch, Same("-h")),
        flag("helpfull", Switch, Same("--help")),
        flag("helpxml", Switch, Asks(Request::HelpXml)),
        flag("only_check_flags", Switch, Asks(Request::CheckDefinitions)),
        flag("run_with_pdb", Switch, Python),
        flag("pdb_post_mortem", Switch, Python),
        flag("pdb", Switch, Python),
        flag("run_with_profiling", Switch, Python),
        flag("use_cprofile_for_profiling", Switch, Python),
        flag("profile_file", Setting, Python),
        // absl.testing.absltest, which TensorFlow loads
        flag("test_random_seed", Setting, Python),
        flag("test_randomize_ordering_seed", Setting, Python),
        flag("test_srcdir", Setting, Python),
        flag("test_tmpdir", Setting, Python),
        flag("xml_output_file", Setting, Python),
        // TensorFlow
        flag("op_conversion_fallback_to_while_loop", Switch, Python),
        flag("hbm_oom_exit", Switch, Python),
        flag("runtime_oom_exit", Switch, Python),
        flag("delta_threshold", Setting, Python),
        flag("tt_check_filter", Switch, Python),
        flag("tt_single_core_summaries", Switch, Python),
        // The parser has `--help`, which has no value there.
        flag("help", Switch, Same("--help")),
        flag("?", Switch, Same("-h")),
    ]
};

/// The flag of a name and form.
pub(super) fn find(name: &str, form: Form) -> Option<&'static Flag> {
    let mut all = FLAGS.iter();
    all.find(|flag| flag.name == name && flag.form == form)
}
