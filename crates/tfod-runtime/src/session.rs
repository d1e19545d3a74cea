//! A model that is run again and again, here or in a process of its own.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use tfod_text::Shown;

use crate::onnxruntime::OnnxRuntime;
use crate::wire::{Named, receive, receive_line, send, send_error, send_line, taken};
use crate::{Error, Model, Tensor, in_order};

/// What the outputs of one run may have, in bytes: the other process hands them over whole.
const LARGEST_OUTPUTS: usize = 1 << 30;

/// The environment variable that says how many threads compute.
const THREADS: &str = "RTEN_NUM_THREADS";

/// What computes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// rten, and what this crate computes.
    #[default]
    Own,
    /// The ONNX Runtime of this shared library.
    OnnxRuntime(PathBuf),
}

impl Runtime {
    /// As an argument: the library, or nothing.
    fn argument(&self) -> &OsStr {
        match self {
            Self::Own => OsStr::new(""),
            Self::OnnxRuntime(library) => library.as_os_str(),
        }
    }

    fn of_argument(argument: &OsStr) -> Self {
        if argument.is_empty() {
            Self::Own
        } else {
            Self::OnnxRuntime(argument.into())
        }
    }
}

/// How to start a process that runs a model, so that neither its memory nor its end is that of this one.
#[derive(Clone, Debug)]
pub struct Launch {
    /// A program that calls [`serve`] with what comes after `arguments`.
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<OsString>,
    /// How many bytes of memory the process may have. Kept by Linux alone.
    pub memory: u64,
    /// How many threads compute; `None` leaves it to the environment, as in this process.
    pub threads: Option<u32>,
    /// What computes in it.
    pub runtime: Runtime,
}

/// A model that was read and made ready.
#[derive(Debug)]
pub struct Session {
    path: PathBuf,
    executor: Executor,
}

#[derive(Debug)]
enum Executor {
    Here(Box<Model>),
    OnnxRuntime(Box<OnnxRuntime>),
    Apart(Box<Apart>),
}

impl Session {
    /// Reads a model: in a process of its own, if it is said how to start one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is no ONNX model; if there is no process, or it ends.
    pub fn open(path: &Path, launch: Option<&Launch>) -> Result<Self, Error> {
        Self::open_for(path, launch, &[])
    }

    /// Reads a model as [`Self::open`] does, to compute these of its outputs alone; all, if none are named. What it does not give is left out.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_for(
        path: &Path,
        launch: Option<&Launch>,
        outputs: &[String],
    ) -> Result<Self, Error> {
        let executor = match launch {
            None => Executor::Here(Box::new(Model::open_for(path, outputs)?)),
            Some(launch) => Executor::Apart(Box::new(Apart::open(path, launch, outputs)?)),
        };
        let path = path.to_owned();
        Ok(Self { path, executor })
    }

    /// Reads a model in this process.
    fn here(path: &Path, runtime: &Runtime, outputs: &[String]) -> Result<Self, Error> {
        match runtime {
            Runtime::Own => Self::open_for(path, None, outputs),
            Runtime::OnnxRuntime(library) => {
                let threads = std::env::var(THREADS).ok();
                let threads = threads.and_then(|threads| threads.parse().ok());
                let model = OnnxRuntime::open(library, path, outputs, threads)?;
                Ok(Self {
                    path: path.to_owned(),
                    executor: Executor::OnnxRuntime(Box::new(model)),
                })
            }
        }
    }

    /// Names of what has to be given.
    pub fn inputs(&self) -> &[String] {
        match &self.executor {
            Executor::Here(model) => model.inputs(),
            Executor::OnnxRuntime(model) => model.inputs(),
            Executor::Apart(apart) => &apart.inputs,
        }
    }

    /// Names of what comes out.
    pub fn outputs(&self) -> &[String] {
        match &self.executor {
            Executor::Here(model) => model.outputs(),
            Executor::OnnxRuntime(model) => model.outputs(),
            Executor::Apart(apart) => &apart.outputs,
        }
    }

    /// Runs the model; the outputs are in the model's order.
    ///
    /// # Errors
    ///
    /// If these are not the model's inputs, if an operator cannot be run on them or fails; of a process of its own, also if it ends before it has
    /// answered, or gives more than 1 GB.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        in_order(&self.path, self.inputs(), inputs)?;
        match &mut self.executor {
            Executor::Here(model) => model.run(inputs),
            Executor::OnnxRuntime(model) => model.run(inputs),
            Executor::Apart(apart) => apart
                .run(inputs)
                .map_err(|end| apart.error(&self.path, "cannot be run", end)),
        }
    }
}

/// A model in another process, which ends with this.
#[derive(Debug)]
struct Apart {
    process: Process,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
    memory: u64,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

/// A process that is not left running, and what it has to complain about.
#[derive(Debug)]
struct Process {
    child: Child,
    complaint: Option<JoinHandle<String>>,
}

/// Why there is no answer.
enum End {
    /// The process says so.
    Refused(String),
    /// It is gone.
    Gone,
    /// It cannot be understood.
    Nonsense(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => Self::Gone,
            _ => Self::Nonsense(error),
        }
    }
}

impl Apart {
    fn open(path: &Path, launch: &Launch, outputs: &[String]) -> Result<Self, Error> {
        const WHAT: &str = "cannot be read";
        let (process, to, from) = Process::start(path, launch, outputs).map_err(|error| {
            let program = launch.program.shown();
            let problem = format!("no process of {program} for it: {error}");
            failed(path, WHAT, problem)
        })?;
        let mut apart = Self {
            process,
            to: BufWriter::new(to),
            from: BufReader::new(from),
            memory: launch.memory,
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let names = apart.names();
        let names = names.map_err(|end| apart.error(path, WHAT, end))?;
        (apart.inputs, apart.outputs) = names;
        Ok(apart)
    }

    /// The names of inputs and outputs, with which the process begins.
    fn names(&mut self) -> Result<(Vec<String>, Vec<String>), End> {
        let mut line = self.line()?;
        let mut names = |key: &str| serde_json::from_value(taken(&mut line, key));
        let inputs = names("inputs").map_err(io::Error::from)?;
        Ok((inputs, names("outputs").map_err(io::Error::from)?))
    }

    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Named, End> {
        send(&mut self.to, inputs.iter().copied())?;
        let mut line = self.line()?;
        Ok(receive(&mut self.from, &mut line, LARGEST_OUTPUTS)?)
    }

    fn line(&mut self) -> Result<Value, End> {
        let line = receive_line(&mut self.from)?.ok_or(End::Gone)?;
        match line["error"].as_str() {
            Some(problem) => Err(End::Refused(problem.to_owned())),
            None => Ok(line),
        }
    }

    /// The error of an end.
    fn error(&mut self, path: &Path, what: &'static str, end: End) -> Error {
        let problem = match end {
            End::Refused(problem) => problem,
            End::Nonsense(error) => format!("its process cannot be understood: {error}"),
            End::Gone => self.process.exit_reason(self.memory),
        };
        failed(path, what, problem)
    }
}

fn failed(path: &Path, what: &'static str, problem: String) -> Error {
    Error::Model {
        path: path.to_owned(),
        what,
        problem,
    }
}

impl Process {
    fn start(
        path: &Path,
        launch: &Launch,
        outputs: &[String],
    ) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let mut command = Command::new(&launch.program);
        if let Some(threads) = launch.threads {
            command.env(THREADS, threads.to_string());
        }
        let child = command
            .args(&launch.arguments)
            .arg(launch.memory.to_string())
            .arg(launch.runtime.argument())
            .arg(path)
            .args(outputs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut process = Self {
            child,
            complaint: None,
        };
        let child = &mut process.child;
        let (Some(to), Some(from), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it has no pipes"));
        };
        let listening = thread::Builder::new().spawn(move || first_line(errors))?;
        process.complaint = Some(listening);
        Ok((process, to, from))
    }

    /// Why it ended, when it should not have.
    fn exit_reason(&mut self, memory: u64) -> String {
        // What has ended keeps its status.
        let _ = self.child.kill();
        let status = self.child.wait();
        let complaint = self.complaint.take().map(JoinHandle::join);
        let complaint = complaint.and_then(Result::ok).unwrap_or_default();
        if complaint.contains("memory allocation of") {
            return too_much(memory, &complaint);
        }
        let complaint = match &*complaint {
            "" => String::new(),
            _ => format!(" ({complaint})"),
        };
        let status = status.map_or_else(|error| error.to_string(), is_shown);
        format!("its process ended before it was done: {status}{complaint}")
    }
}

/// A status, and what it often means.
fn is_shown(status: ExitStatus) -> String {
    #[cfg(unix)]
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(9) {
        return format!("{status}, which the system sends where memory runs out");
    }
    status.to_string()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads all that a process complains about; what it says first is kept.
fn first_line(mut errors: ChildStderr) -> String {
    let mut said = Vec::new();
    let _ = errors.by_ref().take(1000).read_to_end(&mut said);
    let _ = io::copy(&mut errors, &mut io::sink());
    let said = String::from_utf8_lossy(&said);
    let mut lines = said.lines().filter(|line| !line.trim().is_empty());
    lines.next().unwrap_or_default().to_owned()
}

fn too_much(memory: u64, said: &str) -> String {
    format!("it asks for more than the {memory} bytes of memory that it may have ({said})")
}

/// What a process of [`Launch`] does: reads a model and runs it on what comes from standard input. It ends as soon as that ends, even while it runs.
///
/// `arguments` are those that [`Session::open`] appends to the launch's.
///
/// # Errors
///
/// If `arguments` are others, or standard input or output fails. What is wrong with the model is told to the other process.
pub fn serve(arguments: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = match &arguments[..] {
        [memory, runtime, path, outputs @ ..] => {
            let memory = memory.to_str().and_then(|text| text.parse().ok());
            let outputs = outputs.iter().map(|name| name.to_str().map(str::to_owned));
            memory
                .zip(outputs.collect::<Option<Vec<_>>>())
                .zip(Some((Runtime::of_argument(runtime), path)))
        }
        _ => None,
    };
    let Some(((memory, outputs), (runtime, path))) = parsed else {
        let problem = "expected a number of bytes, a runtime's library or nothing, a model's path, and names of outputs";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    };
    bound(memory)?;
    let requests = requests()?;
    let mut to = BufWriter::new(io::stdout().lock());
    let mut session = match Session::here(path.as_ref(), &runtime, &outputs) {
        Ok(session) => session,
        Err(error) => return send_error(&mut to, &told(&error, memory)),
    };
    let names = json!({"inputs": session.inputs(), "outputs": session.outputs()});
    send_line(&mut to, &names)?;
    for inputs in requests {
        let inputs = inputs?;
        let inputs = inputs.iter().map(|(name, tensor)| (&**name, tensor));
        match session.run(&inputs.collect::<Vec<_>>()) {
            Err(error) => send_error(&mut to, &told(&error, memory))?,
            Ok(outputs) => {
                let sizes = outputs.iter().map(|(_, tensor)| tensor.values().bytes());
                let bytes: usize = sizes.sum();
                if bytes > LARGEST_OUTPUTS {
                    let problem = format!("its outputs have {bytes} bytes; 1 GB is the most");
                    send_error(&mut to, &problem)?;
                } else {
                    let outputs = outputs.iter();
                    send(&mut to, outputs.map(|(name, tensor)| (&**name, tensor)))?;
                }
            }
        }
    }
    to.flush()
}

/// Inputs, as they come from standard input; whatever is done with them, its end is that of the process: nobody wants the result.
fn requests() -> io::Result<mpsc::Receiver<io::Result<Named>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new().spawn(move || {
        let mut from = BufReader::new(io::stdin());
        loop {
            let inputs = match receive_line(&mut from) {
                Ok(None) => std::process::exit(0),
                Ok(Some(mut line)) => receive(&mut from, &mut line, usize::MAX),
                Err(error) => Err(error),
            };
            let is_last = inputs.is_err();
            if sender.send(inputs).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// What is told of an error. Where there is no memory for a tensor the runtime panics, which is caught.
fn told(error: &Error, memory: u64) -> String {
    let problem = error.problem();
    if problem.contains("failed to allocate") || problem.contains("no thread for it") {
        return too_much(memory, &problem);
    }
    problem
}

/// Sets `RLIMIT_DATA`, and makes this process the first that the OOM killer ends.
#[cfg(target_os = "linux")]
fn bound(bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let lower = |resource, to: u64| {
        let allowed = getrlimit(resource);
        let least = |limit: Option<u64>| Some(limit.map_or(to, |limit| limit.min(to)));
        let limit = Rlimit {
            current: least(allowed.current),
            maximum: least(allowed.maximum),
        };
        setrlimit(resource, limit)
    };
    // Of what this process alone can change: files that are mapped do not count.
    lower(Resource::Data, bytes)?;
    // Nobody reads gigabytes of what was in memory.
    lower(Resource::Core, 0)?;
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

/// Other systems have no limit that counts what is allocated.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "Linux may refuse")]
fn bound(_bytes: u64) -> io::Result<()> {
    Ok(())
}
