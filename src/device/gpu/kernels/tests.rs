//! Validates every shader of the engine with naga. With `ZILCH_WGSL` set, also writes the shaders to that folder for other compilers.

use super::super::job_table::{Layout, Table};
use super::*;
use crate::lower::Program;
use crate::network::Network;
use crate::plan::{Draw, Plan, What};
use crate::rules::Coords;
use crate::rules::{Choice, Loss, Optimizer, Options, Phi, Rule, Schedule, Values};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Both fragment sizes: 8 with a driver that chooses the subgroup size, 16 with a fixed subgroup size.
const UNITS: [Units; 2] = [Units { side: 8, subgroup: (32, 64) }, Units { side: 16, subgroup: (32, 32) }];

/// Plain layers, layers of equal width, convolutions with both kinds of pooling and with patches of one position, a residual MLP,
/// residual blocks of convolutions, and a recurrent network with shared weights.
const NETWORKS: [&str; 7] = [
    "7,5,4,3",
    "6,5,5,5,3",
    "2x9x8,5c3p1,m2,a2,4c2,3",
    "9x8,6c3s2p2,a2s1,5c1,m2,4",
    "9=in,7=a,7,7+a=b,7,7+b+a=c,5+in:5+a:5,4",
    "2x8x7,5c3p1=a,5c3p1,5c3p1+a=b,7c3s2p1,7c3p1+b:7c1s2,a2,9,4",
    "4x6=in,in.0:11~u,11~w+in.1:11~u,11~w+in.2:11~u,11~w+in.3:11~u,4",
];

/// Number of entries at the start of `variants` that are the defaults of a rule, one for each loss.
const DEFAULTS: usize = 2;

/// The options to try with a rule: its defaults, and the defaults with one or two changes.
fn variants(rule: Rule) -> Vec<Options> {
    let plain = Options { steps: rule.takes("steps").then_some(3), ..Options::new(rule) };
    let entropy = Options { loss: Loss::CrossEntropy, ..plain.clone() };
    let mut all = vec![plain.clone(), entropy];
    let mut add = |change: &dyn Fn(&mut Options)| {
        let mut options = plain.clone();
        change(&mut options);
        all.push(options);
    };
    for optimizer in Optimizer::ALL {
        for loss in Loss::ALL {
            for decay in [0.0, 0.01] {
                add(&|o| (o.optimizer, o.loss, o.weight_decay) = (optimizer, loss, Some(decay)));
            }
        }
    }
    for schedule in Schedule::ALL {
        for coords in Coords::ALL {
            for phi in Phi::ALL {
                add(&|o| (o.schedule, o.coords, o.phi) = (Some(schedule), coords, phi));
                add(&|o| (o.schedule, o.coords, o.phi, o.optimizer) = (Some(schedule), coords, phi, Optimizer::Adam));
            }
        }
    }
    add(&|o| o.mean = true);
    add(&|o| o.gamma = Some(1.0));
    add(&|o| o.gamma = Some(0.3));
    add(&|o| o.steps = Some(1));
    let own = |choice: &Choice| values(&choice.values).into_iter().map(|value| (choice.name.to_owned(), value));
    let changes: Vec<(String, f64)> = rule.rule_options.iter().flat_map(own).collect();
    for change in &changes {
        add(&|o| o.rule_options.extend([change.clone()]));
        // Some options are valid in one mode only. A mode is an option whose values are names.
        for mode in rule.rule_options.iter().filter(|choice| matches!(choice.values, Values::Names(_))).flat_map(own) {
            add(&|o| o.rule_options = [mode.clone(), change.clone()].into());
        }
    }
    all
}

/// Values of an option that may lead to different plans: every name, or both ends of a range and a value between them.
fn values(values: &Values) -> Vec<f64> {
    match *values {
        Values::Names(names) => (0..names.len()).map(|i| i as f64).collect(),
        Values::Number(low, high) => vec![low, 0.5_f64.min(high), 1.0_f64.min(high)],
        Values::Whole(low, high) => vec![f64::from(low), f64::from((low + 2).min(high))],
    }
}

/// A set of launch texts in order of insertion.
#[derive(Default)]
struct Texts {
    all: Vec<Text>,
    known: HashSet<Text>,
}

impl Texts {
    /// Adds the texts of every program that a device compiles for a plan.
    fn add(&mut self, plan: &Plan, rooms: &[u64]) {
        // Normally distributed noise needs a library's logarithm and runs on the CPU only.
        if plan.ops().any(|op| matches!(op.what, What::Draw(Draw::Normal { .. }))) {
            return;
        }
        let plan = plan.carried().expect("a plan");
        for plan in [&*plan, &plan.without_reads_of_states(), &plan.prediction()] {
            let program = Program::new(plan);
            for room in rooms {
                let layout = Layout::new(plan, &program, 5, *room);
                for launch in Table::new(plan, &program, &layout, &|_| Cut::Tile(TILES[0])).launches {
                    // A device refuses a launch on more buffers than it can bind.
                    if launch.bound.len() <= super::super::codegen::MAX_BUFFERS
                        && self.known.insert((*launch.text).clone())
                    {
                        self.all.push((*launch.text).clone());
                    }
                }
            }
        }
    }
}

/// The texts of every rule: with every option on every kind of network, and with default options also without biases
/// and with every activation.
fn texts() -> &'static [Text] {
    static TEXTS: std::sync::OnceLock<Vec<Text>> = std::sync::OnceLock::new();
    TEXTS.get_or_init(every_text)
}

fn every_text() -> Vec<Text> {
    let mut texts = Texts::default();
    for rule in Rule::all().iter().chain([&Rule::SUPERSPIKE]) {
        let mut accepted = HashSet::new();
        for layers in NETWORKS {
            for (activation, bias) in Activation::ALL.into_iter().map(|a| (a, true)).chain([(Activation::Tanh, false)])
            {
                let network = Network::parse(layers).expect("layers").with_activation(activation).with_bias(bias);
                let network = rule.suited(network);
                let usual = activation == Activation::Tanh || rule.activation == Some(activation);
                // All options are tried again without biases only if the rule accepted none of its own options with biases.
                let all = if bias { usual } else { !rule.rule_options.is_empty() && accepted.is_empty() };
                let tried = if all { usize::MAX } else { DEFAULTS };
                for (i, options) in variants(*rule).iter().enumerate().take(tried) {
                    // A rule refuses options that it does not support; other tests check that.
                    let Ok(plan) = options.plan(&network) else { continue };
                    accepted.extend(options.rule_options.iter().map(|(name, value)| (name.clone(), value.to_bits())));
                    // Each family of parameters lies in one buffer. For the defaults, also try one buffer per slot.
                    texts.add(&plan, if i < DEFAULTS { &[u64::MAX, 1] } else { &[u64::MAX] });
                }
            }
        }
        for choice in rule.rule_options {
            for value in values(&choice.values) {
                let known = accepted.contains(&(choice.name.to_owned(), value.to_bits()));
                assert!(known, "--rule {} --{} {} is in no shader", rule.name(), choice.name, choice.write(value));
            }
        }
    }
    texts.all
}

/// The shaders of these texts. The text of a matrix product gives one shader per entry of `cuts`.
fn shaders(texts: &[Text], cuts: &[Cut]) -> Vec<Shader> {
    let of = |text: &Text| match text.kind.is_product() {
        true => cuts.iter().map(|cut| Shader::of(text, Some(*cut))).collect(),
        false => vec![Shader::of(text, None)],
    };
    texts.iter().flat_map(of).collect()
}

/// The hand-written shaders.
fn written() -> Vec<Shader> {
    let gathers = Activation::ALL.into_iter().map(Shader::gather);
    [Shader::score(), Shader::finite(), Shader::examples()].into_iter().chain(gathers).collect()
}

/// The shaders of the first text of every kernel. Products are included with every tile size and with emulated matrix
/// units of both fragment sizes.
fn of_every_kernel(texts: &[Text]) -> Vec<Shader> {
    let mut seen = HashSet::new();
    let first: Vec<Text> = texts.iter().filter(|text| seen.insert(entry(text.kind))).cloned().collect();
    for kernel in ["draw", "forward", "backward", "carry", "units", "reduce", "pool", "connections", "change"] {
        assert!(seen.contains(kernel), "no {kernel}");
    }
    let cuts: Vec<Cut> = TILES.map(Cut::Tile).into_iter().chain(UNITS.map(Cut::Emulated)).collect();
    shaders(&first, &cuts)
}

/// Parses and validates a shader, and sets its pipeline constants.
fn pipeline(shader: &Shader) -> (naga::Module, naga::valid::ModuleInfo) {
    let Shader { name, source, cut, .. } = shader;
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|e| panic!("{name} {cut:?}: {}\n{source}", e.emit_to_string(source)));
    let mixed = Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP;
    let needs = match cut {
        Some(Cut::Units(_)) => mixed,
        Some(Cut::Emulated(_)) => Capabilities::SHADER_FLOAT16_IN_FLOAT32,
        _ => Capabilities::empty(),
    };
    let info = Validator::new(ValidationFlags::all(), needs)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{name} {cut:?}: {e:?}\n{source}"));
    let constants = shader.constants().into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    let entry = Some((naga::ShaderStage::Compute, *name));
    let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, entry, &constants)
        .unwrap_or_else(|e| panic!("{name} {cut:?}: {e}"));
    (module.into_owned(), info.into_owned())
}

/// Translates to SPIR-V with the settings of wgpu for a trusted shader on a Vulkan 1.1 device.
fn spirv(shader: &Shader, (module, info): &(naga::Module, naga::valid::ModuleInfo)) -> Vec<u32> {
    use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy::Unchecked};
    let options = spv::Options {
        lang_version: (1, 3),
        flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
        bounds_check_policies: BoundsCheckPolicies {
            index: Unchecked,
            buffer: Unchecked,
            image_load: Unchecked,
            binding_array: Unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let point = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: shader.name.into() };
    spv::write_vec(module, info, &options, Some(&point)).expect(shader.name)
}

fn msl(shader: &Shader, (module, info): &(naga::Module, naga::valid::ModuleInfo)) -> String {
    let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    msl::write_string(module, info, &options, &msl::PipelineOptions::default()).expect(shader.name).0
}

fn hlsl(shader: &Shader, (module, info): &(naga::Module, naga::valid::ModuleInfo)) -> String {
    let mut text = String::new();
    let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
    let pipeline = hlsl::PipelineOptions::default();
    hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).expect(shader.name);
    text
}

/// Every shader of every rule, hand-written or generated, is valid, stays within WebGPU's default limit of bound
/// buffers, and can be translated for Vulkan, Metal and DX12. With `ZILCH_WGSL` set, the test writes them to that
/// folder, and `make test-wgsl` passes them to other compilers.
#[test]
fn every_shader_validates_and_is_written_to_spirv_msl_and_hlsl() {
    let samples = [written(), of_every_kernel(texts())].concat();
    let rest: Vec<Shader> =
        shaders(texts(), &[Cut::Tile(TILES[0])]).into_iter().filter(|shader| !samples.contains(shader)).collect();
    let folder = std::env::var_os("ZILCH_WGSL");
    for (i, shader) in samples.iter().chain(&rest).enumerate() {
        let module = pipeline(shader);
        let words = spirv(shader, &module);
        assert!(words.len() > 100, "{}: SPIR-V", shader.name);
        if let Some(folder) = &folder {
            let file = Path::new(folder).join(format!("{}-{i}.spv", shader.name));
            std::fs::write(file, bytemuck::cast_slice(&words)).expect("written");
        }
        assert!(msl(shader, &module).contains("kernel void"), "{}: MSL", shader.name);
        assert!(hlsl(shader, &module).contains("numthreads"), "{}: HLSL", shader.name);
        let storage = shader.uses.iter().filter(|u| **u != Uniform).count();
        assert!(storage <= 8, "{storage} buffers, beyond WebGPU's default limit:\n{}", shader.source);
        staged(shader, &module);
    }
    if let Some(folder) = folder {
        write_texts(Path::new(&folder), &samples, &rest);
    }
}

/// The size of every workgroup variable is a multiple of 16 bytes, so that staged quads stay aligned for 128-bit reads.
fn staged(shader: &Shader, (module, _): &(naga::Module, naga::valid::ModuleInfo)) {
    for (_, variable) in module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup) {
        let bytes = module.types[variable.ty].inner.size(module.to_ctx());
        assert!(bytes % 16 == 0, "{}: {:?} of {bytes} bytes in workgroup memory", shader.name, variable.name);
    }
}

/// A file with a shader's text, and the pipelines to compile from it.
#[derive(serde::Serialize)]
struct File<'a> {
    file: String,
    entry: &'static str,
    uses: Vec<&'static str>,
    constants: Vec<BTreeMap<&'static str, f64>>,
    #[serde(skip)]
    source: &'a str,
}

/// Writes every text as a .wgsl file, and `shaders.json` with the pipelines to compile. Only `samples` become pipelines, because a
/// software GPU takes a second for each.
fn write_texts(folder: &Path, samples: &[Shader], rest: &[Shader]) {
    let mut files: Vec<File<'_>> = Vec::new();
    for (i, shader) in samples.iter().chain(rest).enumerate() {
        if files.last().is_none_or(|file| file.source != shader.source) {
            let uses = shader.uses.iter().map(|usage| match usage {
                Uniform => "uniform",
                Read => "read",
                Write => "write",
            });
            let file = format!("{}-{}.wgsl", shader.name, files.len());
            std::fs::write(folder.join(&file), &shader.source).expect("written");
            let (entry, source) = (shader.name, shader.source.as_str());
            files.push(File { file, entry, uses: uses.collect(), constants: Vec::new(), source });
        }
        let of = files.last_mut().expect("a file");
        if i < samples.len() {
            of.constants.push(shader.constants().into_iter().collect());
        }
    }
    std::fs::write(folder.join("shaders.json"), serde_json::to_string(&files).expect("JSON")).expect("written");
}

/// Products on matrix units are valid for both fragment sizes, use the matrix units for every fragment, and can be
/// translated for Vulkan and Metal (DX12 has no matrix units).
#[test]
fn mixed_products_validate_and_are_written_to_spirv_and_msl() {
    // The opcode of OpCooperativeMatrixMulAddKHR; an opcode is the low half of an instruction's first word.
    const MULTIPLY_ADD: u32 = 4459;
    for units in UNITS {
        let all = shaders(texts(), &[Cut::Units(units)]);
        for shader in all.iter().filter(|s| s.cut.is_some()) {
            let module = pipeline(shader);
            let words = spirv(shader, &module);
            let (mut at, mut products) = (5, 0);
            while at < words.len() {
                products += usize::from(words[at] & 0xffff == MULTIPLY_ADD);
                at += (words[at] >> 16) as usize;
            }
            assert_eq!(products, 4, "{}", shader.name);
            // Metal has 8 x 8 matrix units only.
            if units.side == 8 {
                assert!(msl(shader, &module).contains("simdgroup_multiply_accumulate"), "{}", shader.name);
            }
        }
    }
}

/// Compiled texts name neither equations nor layers: launches with the same code would otherwise not share a pipeline.
#[test]
fn no_equation_is_compiled() {
    let comments = || texts().iter().flat_map(|text| text.wgsl.lines()).filter(|line| line.starts_with("// "));
    assert!(comments().all(|line| line.starts_with("// writes ") && !line.contains('^')));
    assert!(comments().count() > texts().len() / 2, "texts have comments");
}
