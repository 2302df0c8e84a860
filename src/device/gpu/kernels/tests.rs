//! Every shader that the engine makes, in the eyes of naga; with `ZILCH_WGSL`, written to a folder for other compilers.

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

/// Both widths, and a driver that chooses the size of subgroups beside one that does not.
const UNITS: [Units; 2] = [Units { side: 8, subgroup: (32, 64) }, Units { side: 16, subgroup: (32, 32) }];

/// Plain layers, layers of one width, convolutions with either pool and with patches of one place, a residual MLP, residual
/// blocks of convolutions, and a recurrence with shared weights.
const NETWORKS: [&str; 7] = [
    "7,5,4,3",
    "6,5,5,5,3",
    "2x9x8,5c3p1,m2,a2,4c2,3",
    "9x8,6c3s2p2,a2s1,5c1,m2,4",
    "9=in,7=a,7,7+a=b,7,7+b+a=c,5+in:5+a:5,4",
    "2x8x7,5c3p1=a,5c3p1,5c3p1+a=b,7c3s2p1,7c3p1+b:7c1s2,a2,9,4",
    "4x6=in,in.0:11~u,11~w+in.1:11~u,11~w+in.2:11~u,11~w+in.3:11~u,4",
];

/// How many of `variants` are a rule's defaults, with either loss.
const DEFAULTS: usize = 2;

/// A rule's options: its defaults, and what may be changed of them, one or two changes at a time.
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
    let changes: Vec<(String, f64)> = rule.own.iter().flat_map(own).collect();
    for change in &changes {
        add(&|o| o.own.extend([change.clone()]));
        // Some options need a mode, which is a name.
        for mode in rule.own.iter().filter(|choice| matches!(choice.values, Values::Names(_))).flat_map(own) {
            add(&|o| o.own = [mode.clone(), change.clone()].into());
        }
    }
    all
}

/// Values of an option that plans may tell apart: every name, both ends, and what lies between.
fn values(values: &Values) -> Vec<f64> {
    match *values {
        Values::Names(names) => (0..names.len()).map(|i| i as f64).collect(),
        Values::Number(low, high) => vec![low, 0.5_f64.min(high), 1.0_f64.min(high)],
        Values::Whole(low, high) => vec![f64::from(low), f64::from((low + 2).min(high))],
    }
}

/// The texts of launches, each once.
#[derive(Default)]
struct Texts {
    all: Vec<Text>,
    known: HashSet<Text>,
}

impl Texts {
    /// Adds those of every program that a device makes of a plan.
    fn add(&mut self, plan: &Plan, rooms: &[u64]) {
        // Noise by a library's logarithm is the CPU's alone.
        if plan.ops().any(|op| matches!(op.what, What::Draw(Draw::Normal { .. }))) {
            return;
        }
        let plan = plan.carried().expect("a plan");
        for plan in [&*plan, &plan.without_reads_of_states(), &plan.prediction()] {
            let program = Program::new(plan);
            for room in rooms {
                let layout = Layout::new(plan, &program, 5, *room);
                for launch in Table::new(plan, &program, &layout, &|_| Cut::Tile(TILES[0])).launches {
                    // Devices refuse launches on more buffers than they can bind.
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

/// The texts of every rule with every option, on every kind of network; and of its defaults without biases, and at every activation.
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
                // Without biases again only where a rule takes no others: nothing of its own was accepted with them.
                let all = if bias { usual } else { !rule.own.is_empty() && accepted.is_empty() };
                let tried = if all { usize::MAX } else { DEFAULTS };
                for (i, options) in variants(*rule).iter().enumerate().take(tried) {
                    // What a rule cannot do is refused, and tested elsewhere.
                    let Ok(plan) = options.plan(&network) else { continue };
                    accepted.extend(options.own.iter().map(|(name, value)| (name.clone(), value.to_bits())));
                    // Parameters of one name in one buffer, and of the defaults each in a buffer of its own, too.
                    texts.add(&plan, if i < DEFAULTS { &[u64::MAX, 1] } else { &[u64::MAX] });
                }
            }
        }
        for choice in rule.own {
            for value in values(&choice.values) {
                let known = accepted.contains(&(choice.name.to_owned(), value.to_bits()));
                assert!(known, "--rule {} --{} {} is in no shader", rule.name(), choice.name, choice.write(value));
            }
        }
    }
    texts.all
}

/// Every shader of those texts, products by every one of these cuts.
fn shaders(texts: &[Text], cuts: &[Cut]) -> Vec<Shader> {
    let of = |text: &Text| match text.kind.is_product() {
        true => cuts.iter().map(|cut| Shader::of(text, Some(*cut))).collect(),
        false => vec![Shader::of(text, None)],
    };
    texts.iter().flat_map(of).collect()
}

/// The shaders that are written by hand as a whole.
fn written() -> Vec<Shader> {
    let gathers = Activation::ALL.into_iter().map(Shader::gather);
    [Shader::score(), Shader::finite(), Shader::examples()].into_iter().chain(gathers).collect()
}

/// The first text of every kernel, products by every tile and by emulated units of both widths.
fn of_every_kernel(texts: &[Text]) -> Vec<Shader> {
    let mut seen = HashSet::new();
    let first: Vec<Text> = texts.iter().filter(|text| seen.insert(entry(text.kind))).cloned().collect();
    for kernel in ["draw", "forward", "backward", "carry", "units", "reduce", "pool", "connections", "change"] {
        assert!(seen.contains(kernel), "no {kernel}");
    }
    let cuts: Vec<Cut> = TILES.map(Cut::Tile).into_iter().chain(UNITS.map(Cut::Emulated)).collect();
    shaders(&first, &cuts)
}

/// Parses and validates a shader, and gives it the constants of its pipeline.
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

/// As wgpu writes it for a device of Vulkan 1.1, from a trusted shader.
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

/// Every shader, written or generated, of every rule, is valid, binds what WebGPU allows by default, and can be written
/// for Vulkan, Metal and DX12. With `ZILCH_WGSL` they are written to that folder: `make test-wgsl` hands them to other compilers.
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

/// Every workgroup variable takes whole 16 bytes, so that none puts staged quads off the boundaries of 128-bit reads.
fn staged(shader: &Shader, (module, _): &(naga::Module, naga::valid::ModuleInfo)) {
    for (_, variable) in module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup) {
        let bytes = module.types[variable.ty].inner.size(module.to_ctx());
        assert!(bytes % 16 == 0, "{}: {:?} of {bytes} bytes in workgroup memory", shader.name, variable.name);
    }
}

/// A shader's text in a file, once, with the pipelines that are to be made of it.
#[derive(serde::Serialize)]
struct File<'a> {
    file: String,
    entry: &'static str,
    uses: Vec<&'static str>,
    constants: Vec<BTreeMap<&'static str, f64>>,
    #[serde(skip)]
    source: &'a str,
}

/// Writes every text as a .wgsl file, and `shaders.json`, which says what pipelines to make of the texts: those of the samples, because
/// a software GPU takes a second for each.
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

/// The products on matrix units are valid for both sizes there are, multiply on them in every sum, and can be
/// written for Vulkan and Metal (DX12 has none).
#[test]
fn mixed_products_validate_and_are_written_to_spirv_and_msl() {
    // OpCooperativeMatrixMulAddKHR, in the low half of an instruction's first word.
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
            // Metal's units are of 8 x 8.
            if units.side == 8 {
                assert!(msl(shader, &module).contains("simdgroup_multiply_accumulate"), "{}", shader.name);
            }
        }
    }
}

/// Equations are printed, and not compiled: they would part what is one pipeline.
#[test]
fn no_equation_is_compiled() {
    assert!(texts().iter().all(|text| !text.wgsl.contains("// Eq. (")));
}
