//! A pull: from a reference to a layout with everything that the store lacks.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::time::Instant;

use reqwest::{Method, Response};
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_image::limits::DOCUMENT_BYTES;
use sandkeep_image::manifest::{Answer, Descriptor, Manifest, diff_ids};
use sandkeep_image::{Digest, Image, Incoming, Source, Store};
use sha2::{Digest as _, Sha256};

use crate::client::{Registry, TRIES, document, may_pass, too_much, too_slow, unavailable};
use crate::endpoint::Endpoint;
use crate::layout::{Layout, unwritten};
use crate::reference::Reference;
use crate::settings::{Settings, Times};

/// An image that was pulled and is not unpacked yet; its blobs are gone when this is.
#[derive(Debug)]
pub struct Pulled {
    /// Where it is unpacked from.
    pub source: Source,
    /// It.
    pub image: Image,
    /// Layers that were fetched, and those that were there.
    pub fetched: usize,
    /// Layers that the store had.
    pub known: usize,
    /// Bytes that were fetched.
    pub bytes: u64,
    _incoming: Incoming,
}

/// Fetches what `reference` means into `store`. `told` hears of mirrors that were of no use.
///
/// # Errors
/// `image_unknown`, `image_unsupported`, `image_invalid`, `image_too_large`: the image. `registry_unavailable`,
/// `registry_denied`, `registry_invalid`: whoever has it. `credentials_unusable`, `config_invalid`: what is set here.
/// `image_store_unusable`. Nothing of it stays.
pub fn pull(
    reference: &Reference,
    store: &Store,
    settings: &Settings,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Pulled, Problem> {
    let incoming = store.incoming()?;
    // A thread of its own: the caller may be in a runtime already.
    let fetched = std::thread::scope(|scope| {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
            runtime.block_on(fetch(reference, &incoming, settings, told))
        };
        scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let source = Source::open(incoming.path())?;
    let image = source.image()?;
    let Fetched { layers: fetched, known, bytes } = fetched;
    Ok(Pulled { source, image, fetched, known, bytes, _incoming: incoming })
}

#[derive(Default)]
struct Fetched {
    layers: usize,
    known: usize,
    bytes: u64,
}

async fn fetch(
    reference: &Reference,
    incoming: &Incoming,
    settings: &Settings,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Fetched, Problem> {
    let layout = Layout::create(incoming.path())?;
    let mut sources = Sources::new(settings.resolvers(reference), reference, settings, told);
    let digest = match reference.digest() {
        Some(digest) => digest,
        None => sources.resolve().await?,
    };
    sources.go_on_with(settings.sources(reference));
    let (digest, bytes, manifest) = sources.manifest(digest).await?;
    manifest.check()?;
    let config = sources.config(&manifest.config).await?;
    let diff_ids = diff_ids(&config)?;
    if diff_ids.len() != manifest.layers.len() {
        let text = "the image has another number of layers than its configuration says";
        return Err(Problem::new(ErrorCode::ImageInvalid, text));
    }
    let (known, lacking): (Vec<_>, Vec<_>) =
        manifest.layers.iter().zip(diff_ids).partition(|(_, diff_id)| incoming.has_layer(*diff_id));
    fits(&lacking, incoming.room()?)?;
    let mut fetched = Fetched { known: known.len(), ..Fetched::default() };
    for (layer, _) in lacking {
        let path = layout.blob(layer.digest()?);
        // An image may have a layer twice.
        if !path.exists() {
            sources.blob(layer, &path).await?;
            fetched.bytes += layer.size;
        }
        fetched.layers += 1;
    }
    layout.put(manifest.config.digest()?, &config)?;
    layout.put(digest, &bytes)?;
    layout.finish(digest, bytes.len(), &reference.to_string())?;
    Ok(fetched)
}

fn fits(lacking: &[(&Descriptor, Digest)], room: u64) -> Result<(), Problem> {
    let bytes = lacking.iter().fold(0, |sum: u64, (layer, _)| sum.saturating_add(layer.size));
    if bytes > room {
        let text = format!("the image: its layers have {bytes} bytes, and there is room for {room}");
        return Err(Problem::new(ErrorCode::ImageTooLarge, text));
    }
    Ok(())
}

/// Whoever may have the blobs, in order. One that was of no use is not asked again.
struct Sources<'a> {
    waiting: std::vec::IntoIter<Endpoint>,
    current: Option<Registry<'a>>,
    reference: &'a Reference,
    settings: &'a Settings,
    told: &'a (dyn Fn(&str) + Sync),
}

impl<'a> Sources<'a> {
    fn new(
        endpoints: Vec<Endpoint>,
        reference: &'a Reference,
        settings: &'a Settings,
        told: &'a (dyn Fn(&str) + Sync),
    ) -> Self {
        Self { waiting: endpoints.into_iter(), current: None, reference, settings, told }
    }

    /// Asks others from now on. Whoever comes first there and was asked already goes on as it is, with its token.
    fn go_on_with(&mut self, endpoints: Vec<Endpoint>) {
        let first = endpoints.first();
        let stays = self.current.as_ref().is_some_and(|registry| Some(&registry.endpoint) == first);
        self.waiting = endpoints.into_iter();
        if stays {
            self.waiting.next();
        } else {
            self.current = None;
        }
    }

    /// What the tag means now.
    async fn resolve(&mut self) -> Result<Digest, Problem> {
        let part = format!("manifests/{}", self.reference.tag());
        self.first(async |registry| resolve(registry, &part).await).await
    }

    /// The manifest for this host that is `digest`, or that the index `digest` leads to.
    async fn manifest(&mut self, digest: Digest) -> Result<(Digest, Vec<u8>, Manifest), Problem> {
        let bytes = self.first(async |registry| small(registry, "manifests", digest, None).await).await?;
        let index = match Answer::read(&bytes)? {
            Answer::Manifest(manifest) => return Ok((digest, bytes, manifest)),
            Answer::Index(index) => index,
        };
        let chosen = index.for_host()?;
        let (digest, size) = (chosen.digest()?, chosen.size);
        let bytes =
            self.first(async |registry| small(registry, "manifests", digest, Some(size)).await).await?;
        match Answer::read(&bytes)? {
            Answer::Manifest(manifest) => Ok((digest, bytes, manifest)),
            Answer::Index(_) => Err(Problem::new(
                ErrorCode::ImageUnsupported,
                "the image: has an index where its manifest should be",
            )),
        }
    }

    async fn config(&mut self, config: &Descriptor) -> Result<Vec<u8>, Problem> {
        let (digest, size) = (config.digest()?, config.size);
        self.first(async |registry| small(registry, "blobs", digest, Some(size)).await).await
    }

    async fn blob(&mut self, layer: &Descriptor, path: &Path) -> Result<(), Problem> {
        let (digest, size) = (layer.digest()?, layer.size);
        let mut file = File::create_new(path).map_err(|error| unwritten(&error))?;
        self.first(async |registry| blob(registry, digest, size, &mut file).await).await
    }

    /// What the first gives that can.
    async fn first<T>(
        &mut self,
        mut ask: impl AsyncFnMut(&mut Registry<'a>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        loop {
            let problem = match self.ask_current(&mut ask).await {
                Ok(answer) => return Ok(answer),
                Err(problem) => problem,
            };
            // A full disk is nobody's fault there.
            if self.waiting.len() == 0 || problem.code == ErrorCode::ImageStoreUnusable {
                return Err(problem);
            }
            (self.told)(&format!("a mirror is of no use: {}", problem.message));
            self.current = None;
        }
    }

    async fn ask_current<T>(
        &mut self,
        ask: &mut impl AsyncFnMut(&mut Registry<'a>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        if self.current.is_none() {
            let next = self
                .waiting
                .next()
                .ok_or_else(|| Problem::new(ErrorCode::Internal, "nobody is left to ask"))?;
            let Settings { auth, times, .. } = self.settings;
            self.current = Some(Registry::new(next, self.reference.repository(), auth, *times)?);
        }
        match &mut self.current {
            Some(registry) => ask(registry).await,
            None => Err(Problem::new(ErrorCode::Internal, "nobody is left to ask")),
        }
    }
}

/// The digest of what has a tag: as the registry says it, else that of what it gives.
async fn resolve(registry: &mut Registry<'_>, part: &str) -> Result<Digest, Problem> {
    let answer = registry.ask(Method::HEAD, part).await?;
    let said = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
    if let Some(said) = said {
        return Digest::parse(said).map_err(|_| {
            let text = format!("{} gives a digest that is none", registry.endpoint.name);
            Problem::new(ErrorCode::RegistryInvalid, text)
        });
    }
    let answer = registry.ask(Method::GET, part).await?;
    Ok(Digest::of(&whole(registry, answer, DOCUMENT_BYTES).await?))
}

/// Something small by its digest.
async fn small(
    registry: &mut Registry<'_>,
    kind: &str,
    digest: Digest,
    size: Option<u64>,
) -> Result<Vec<u8>, Problem> {
    let most = size.unwrap_or(DOCUMENT_BYTES).min(DOCUMENT_BYTES);
    let answer = registry.ask(Method::GET, &format!("{kind}/{digest}")).await?;
    let bytes = whole(registry, answer, most).await?;
    if Digest::of(&bytes) != digest { Err(wrong(registry, digest)) } else { Ok(bytes) }
}

async fn whole(registry: &Registry<'_>, answer: Response, most: u64) -> Result<Vec<u8>, Problem> {
    let name = &registry.endpoint.name;
    let read = tokio::time::timeout(registry.times.document, document(answer, most, name));
    read.await.map_err(|_| too_slow(name))?
}

/// A blob into a file, from its start for every try.
async fn blob(
    registry: &mut Registry<'_>,
    digest: Digest,
    size: u64,
    file: &mut File,
) -> Result<(), Problem> {
    let mut tries = 1;
    loop {
        let answer = registry.ask(Method::GET, &format!("blobs/{digest}")).await?;
        file.rewind().and_then(|()| file.set_len(0)).map_err(|error| unwritten(&error))?;
        match stream(registry, answer, size, file).await {
            Ok(found) if found == digest.hex() => return Ok(()),
            Ok(_) => return Err(wrong(registry, digest)),
            Err(Broken::Off(_)) if tries < TRIES => {}
            Err(Broken::Off(problem) | Broken::ForGood(problem)) => return Err(problem),
        }
        registry.pause(tries, None).await;
        tries += 1;
    }
}

/// Why a blob did not come.
enum Broken {
    /// In the middle; another try may help.
    Off(Problem),
    ForGood(Problem),
}

/// Writes an answer, which has to be `size` bytes; the digits of its digest.
async fn stream(
    registry: &Registry<'_>,
    mut answer: Response,
    size: u64,
    file: &mut File,
) -> Result<String, Broken> {
    let name = &registry.endpoint.name;
    let (mut hasher, mut written) = (Sha256::new(), 0_u64);
    let mut window = Window::open(&registry.times);
    loop {
        let next = tokio::time::timeout(registry.times.silence, answer.chunk()).await;
        let piece = match next {
            Err(_) => return Err(Broken::ForGood(too_slow(name))),
            Ok(Err(error)) if may_pass(&error) => return Err(Broken::Off(unavailable(name, &error))),
            Ok(Err(error)) => return Err(Broken::ForGood(unavailable(name, &error))),
            Ok(Ok(None)) => break,
            Ok(Ok(Some(piece))) => piece,
        };
        written += piece.len() as u64;
        if written > size {
            return Err(Broken::ForGood(too_much(name, size)));
        }
        if !window.is_fast_enough(piece.len() as u64) {
            return Err(Broken::ForGood(too_slow(name)));
        }
        hasher.update(&piece);
        file.write_all(&piece).map_err(|error| Broken::ForGood(unwritten(&error)))?;
    }
    if written < size {
        let text = format!("{name} sends {written} bytes of {size}");
        return Err(Broken::ForGood(Problem::new(ErrorCode::RegistryInvalid, text)));
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Looks whether enough came in each stretch of time: a byte now and then is no silence, and would last for ever.
struct Window {
    times: Times,
    since: Instant,
    bytes: u64,
}

impl Window {
    fn open(times: &Times) -> Self {
        Self { times: *times, since: Instant::now(), bytes: 0 }
    }

    fn is_fast_enough(&mut self, more: u64) -> bool {
        self.bytes += more;
        let passed = self.since.elapsed();
        if passed < self.times.window {
            return true;
        }
        let enough =
            passed.as_millis() * u128::from(Times::SLOWEST_BYTES_PER_S) / 1000 <= u128::from(self.bytes);
        (self.since, self.bytes) = (Instant::now(), 0);
        enough
    }
}

fn wrong(registry: &Registry<'_>, digest: Digest) -> Problem {
    let text = format!("{} sends something else than {digest}", registry.endpoint.name);
    Problem::new(ErrorCode::RegistryInvalid, text)
}
