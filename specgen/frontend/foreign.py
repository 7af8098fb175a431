"""What PyTorch, torchvision, Keras and Caffe call things, and our names for them.

Data for help: which of our names is meant, or that there is none. Help gives a name of
ours only where it is valid, so it gives a new op as soon as that exists.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from specgen.diagnostics import LIMITS

# Our name, then other programs' names, without case, `_`, `-`, `nn.` and the like.
OPS = """
conv2d: conv convolution convolution2d spatialconvolution conv2dnormactivation
conv2d: lazyconv2d convolutional
linear: dense innerproduct fc fullyconnected gemm affine lazylinear
relu: rectifier rectifiedlinear rectifiedlinearunit
local_response_norm: lrn localresponsenormalization cmrnorm responsenorm crossmaplrn2d
spatial_response_norm: rnorm withinchannel samemap
max_pool2d: maxpool maxpooling maxpooling2d pooling pool spatialmaxpooling
avg_pool2d: avgpool averagepool averagepooling averagepooling2d avgpooling meanpool
dropout: drop
dropout2d: featuredropout spatialdropout2d
stochastic_depth: droppath
flatten: innerflatten
reshape: view unflatten
permute: transpose
channel_shuffle: nativechannelshuffle shufflechannel
identity: linearactivation noop
select: selecttoken tokenselection
softmax: softmax2d softmaxwithloss logsoftmax
batch_norm2d: batchnorm batchnormalization bn spatialbatchnormalization lazybatchnorm2d
add: eltwise sum addition residual shortcut elementwise
multiply: mul product
concat: cat concatenate concatenation depthconcat route
adaptive_avg_pool2d: adaptiveaveragepooling2d adaptiveavgpool
adaptive_max_pool2d: adaptivemaxpooling2d adaptivemaxpool
leaky_relu: leakyrelu leaky
relu6: clippedrelu
sigmoid: logistic
silu: swish swish1
gelu: gelutanh geluapproximate
tanh: hyperbolictangent
elu: exponentiallinearunit
hardswish: hswish
hardsigmoid: hsigmoid
softplus: softrelu
mish:
prelu: parametricrelu
layer_scale: layerscale
multi_head_attention: multiheadattention multiheadattentionforward attention mha
multi_head_attention: selfattention multiheadselfattention scaleddotproductattention
class_token: cls clstoken
position_embedding: posembedding posembed positionalembedding learnedpositionalembedding
group_norm: groupnormalization
layer_norm: layernormalization layernorm2d
instance_norm2d: instancenorm instancenormalization
conv_transpose2d: deconvolution deconv conv2dtranspose
upsample: upsampling2d interpolate resize upsamplingnearest2d upsamplingbilinear2d
upsample: upsamplenearest upsamplebilinear
"""
NO_OPS = """
absval activityregularization adaptivemaxpool2dwithindices additiveattention affinegrid
alphadropout argmax average batchreindex bias bidirectional bilinear binarycrossentropy
binarycrossentropywithlogits bnll celu clip container convlstm2d convtbc
cosinesimilarity crop cropping2d dataparallel deformconv2d dot dropblock2d dummydata
einsum einsumdense embed embedding embeddingbag exp featurealphadropout
featurepyramidnetwork filter fold fractionalmaxpool2d fractionalmaxpool2dwithindices
frozenbatchnorm2d gaussiandropout gaussiannoise glu gridsample groupedmm gru
gumbelsoftmax hardshrink hardtanh hdf5data hdf5output im2col kldiv lambda
lazyconvtranspose2d lazyinstancenorm2d linearcrossentropy log logsigmoid lppool2d lstm
masking maximum maxout maxpool2dwithindices maxunpool2d memorydata minimum mlp module
mvn normalization normalize onehot pad pairwisedistance parameter patchembed pdist
pixelshuffle pixelunshuffle power psroipool python recurrent reduction repeatvector
rescaling resizing rmsnorm rnn rnnbase rnncellbase roialign roipool rrelu scale
scaledgroupedmm scaledmm selu separableconv2d separableconvolution2d silence simplernn
slice softmin softshrink softsign spectralnormalization split spp squeezeexcitation
subtract tanhshrink textvectorization threshold tile timedistributed transformer
transformerdecoder transformerdecoderlayer transformerencoder transformerencoderlayer
unfold unitnormalization weightnorm windowdata yolo
"""
# Whole families: for signals and volumes, losses, steps of recurrent networks.
NO_OP = re.compile(
    r".*(?:[13]d(?:withindices|transpose)?|loss|loss2d|cell|list|dict)"
    r"|(?:circular|constant|random|reflection|replication|zero)pad.*|random.*"
)
GLOBAL_AVERAGE = "write adaptive_avg_pool2d with output_size: 1"
GLOBAL_MAXIMUM = "write adaptive_max_pool2d with output_size: 1"
OP_HINTS = {
    "syncbatchnorm": "write batch_norm2d with synchronized: true",
    "globalaveragepooling2d": GLOBAL_AVERAGE,
    "globalaveragepool": GLOBAL_AVERAGE,
    "globalavgpool2d": GLOBAL_AVERAGE,
    "globalavgpool": GLOBAL_AVERAGE,
    "gap": GLOBAL_AVERAGE,
    "globalmaxpooling2d": GLOBAL_MAXIMUM,
    "globalmaxpool2d": GLOBAL_MAXIMUM,
    "globalmaxpool": GLOBAL_MAXIMUM,
    "depthwiseconv2d": "write conv2d with as many groups as input channels",
    "crossentropyloss": "the loss is always cross-entropy: leave this layer out",
    "nllloss": "the loss is always cross-entropy: leave this layer out",
    "softmaxcrossentropy": "the loss is always cross-entropy: leave this layer out",
    "crossentropy": "the loss is always cross-entropy: leave this layer out",
    "accuracy": "training always measures accuracy: leave this layer out",
    "activation": "an activation is a separate layer: {op: relu}",
    "input": "the input section describes the image: leave this layer out",
    "inputlayer": "the input section describes the image: leave this layer out",
    "data": "the data section describes the images: leave this layer out",
    "imagedata": "the data section describes the images: leave this layer out",
    "zeropad2d": "give padding to the layer that reads it",
    "zeropadding2d": "give padding to the layer that reads it",
    "constantpad2d": "give padding to the layer that reads it",
    "sequential": "give its layers to a group: {layers: [{op: NAME}, ...]}",
}

KEYS = """
from: bottom bottoms inputs inboundnodes inbound source sources src reads parents
out_channels: filters numoutput nout outplanes outch nfilters nbfilter channels
out_channels: outfeatures
out_channels: numfilters features outputchannels planes
out_features: units numoutput nout outputdim features hiddensize outputs
out_features: outchannels channels classes numclasses
kernel_size: kernel kernelshape filtersize ksize size window windowsize poolsize k field
kernel_size: poolingsize kernelh kernelw
stride: strides strideh stridew step subsample subsampling
padding: pad pads padh padw bordermode
dilation: dilations dilationrate atrousrate rate holesize
output_size: outputshape outsize
scale_factor: scales scale upsamplingratio
mode: interpolation
groups: group ngroup ngroups numgroups
num_heads: heads nhead nheads numhead
dropout: attentiondropout attndrop attndropout dropoutp
index: token position
bias: usebias biasterm withbias hasbias
init: kernelinitializer weightinitializer weightfiller weightinit
init: biasfiller biasinitializer
p: rate dropoutratio dropoutrate prob probability drop dropprob
size: localsize n nsize windowsize window neighborhood
k: bias knorm
ceil_mode: ceil ceilmode roundmode
count_include_pad: countincludepad includepad
lr: learningrate baselr initiallr lrinit lr0 eta
weight_decay: decay l2 wd weightdecayrate regularization
lr_multipliers: lrmult lrmults
epochs: numepochs nbepoch nepochs maxepochs maxepoch milestones stepvalue
batch_size: batch batchsize bs trainbatchsize minibatch minibatchsize
accumulate: gradientaccumulationsteps accumulategradbatches itersize accumsteps
schedule: scheduler lrscheduler lrschedule lrpolicy learningrateschedule
warmup_epochs: warmup numwarmupepochs lrwarmupepochs
label_smoothing: smoothing labelsmoothingfactor
clip_grad_norm: clipgradients gradclip clipnorm maxgradnorm gradientclipval clip maxnorm
precision: dtype amp fp16 bf16 mixedprecision halfprecision autocast
seed: randomseed rngseed manualseed randomstate
optimizer: optim solver solvertype
factor: gamma decayfactor drop
final_lr: etamin minlr endlr minimumlr
patience: wait
drops: maxdrops ndrops
kind: type name policy
flip: mirror hflip horizontalflip randomhorizontalflip randomflip
color_noise: colorjitter pcanoise lighting colornoise pca
std: scale stddev normalize normalization
size: resize imagesize imgsize shorterside resizesize
channels: c depth inchannels
height: h rows
width: w cols columns
memory: mem budget ram vram memorylimit
layers: network model modules architecture net layer
name: classname title modelname
summary: description doc docstring comment
reference: paper citation source
input: inputs inputshape inputsize image
placement: devices device parallel
data: dataset augmentation transforms preprocessing transform
training: train recipe hyperparameters hparams trainer fit
extends: base inherits parent include from
mean: mu
normal: gaussian randomnormal normal_
weight: weights kernel w
"""
KEY_HINTS = {
    "with": "params are given to a block: {block: NAME, with: {...}}",
    "first": "it is for the params of a block: {block: NAME, first: {...}}",
    "inchannels": "it is inferred from the previous layer: leave it out",
    "infeatures": "it is inferred from the previous layer: leave it out",
    "inputchannels": "it is inferred from the previous layer: leave it out",
    "embeddim": "it is inferred from the previous layer: leave it out",
    "hiddendim": "it is inferred from the previous layer: leave it out",
    "inputdim": "it is inferred from the previous layer: leave it out",
    "numinput": "it is inferred from the previous layer: leave it out",
    "numfeatures": "it is inferred from the previous layer: leave it out",
    "inputshape": "it is inferred from the previous layer: leave it out",
    "activation": "an activation is a separate layer: relu1: {op: relu}",
    "nonlinearity": "an activation is a separate layer: relu1: {op: relu}",
    "threshold": "it is always 20, PyTorch's default: leave it out",
    "keepprob": "p is the fraction that is dropped: write p, 1 minus this value",
    "depthradius": "write size, twice this value plus 1",
    "inplace": "generated code does not need it: leave it out",
    "device": "the placement section says where layers run",
    "name": "a layer's key is its name",
    "batchfirst": "the images are always first: leave it out",
    "kdim": "tokens attend to themselves: leave it out",
    "vdim": "tokens attend to themselves: leave it out",
    "needweights": "the weights are never returned: leave it out",
    "startdim": "it is always 1: leave it out",
    "enddim": "it is always -1: leave it out",
    "dim": "it is always 1: leave it out",
    "axis": "it is always 1: leave it out",
    "loss": "the loss is always cross-entropy: leave it out",
    "criterion": "the loss is always cross-entropy: leave it out",
    "meanfile": "the mean of the training set is always subtracted: leave it out",
    "meansubtraction": "the mean of the training set is always subtracted",
    "mean": "leave it out: the mean of the training set is subtracted, and weights"
    " start with mean 0",
    "crop": "the input section sets the size of crops: leave it out",
    "cropsize": "the input section sets the size of crops: leave it out",
    "numclasses": "out_features of the last linear layer sets it: leave it out",
    "classes": "out_features of the last linear layer sets it: leave it out",
    "maxiter": "training is measured in epochs: write epochs",
    "numworkers": "an option of the generated train.py: --workers",
    "workers": "an option of the generated train.py: --workers",
    "output": "an option of the generated train.py: --output",
}
NO_KEYS = """
activityregularizer addbiaskv addzeroattn affine amsgrad autoaugment beta1 beta2 betas
biasregularizer bottom bottoms centered cropping cutmix cutout dampening dataformat
dilation divisoroverride dtype earlystopping ema engine eps from: globalpooling
gradientcheckpointing inbound inboundnodes inputs kernelconstraint kernelregularizer
mixup nesterov paddingmode padmode parents randaugment randomerasing randomrotation
reads recomputescalefactor returnindices rotation shear size source sources src
trackrunningstats zoom
"""

VALUES = """
cosine: cosineannealing cosineannealinglr cosinedecay cosinelr
plateau: reducelronplateau onplateau reduceonplateau
step: multistep multisteplr steplr steps piecewiseconstant piecewise
sgd: momentum sgdmomentum stochasticgradientdescent
kaiming_normal: he henormal msra kaiming hekaiming
kaiming_uniform: heuniform
xavier_normal: glorotnormal
xavier_uniform: glorot glorotuniform xavier
bfloat16: bf16 mixedbfloat16 mixed amp autocast
float32: fp32 float single full 32
split: all both sharded parallel
"""
VALUE_HINTS = {
    "same": "give the number: kernel_size // 2 keeps the size at stride 1",
    "valid": "write 0, or leave padding out",
    "zeros": "write 0",
    "ones": "write 1",
    "normal": "write {normal: {std: 0.01}}",
    "truncatednormal": "write {trunc_normal: {std: 0.02}}",
    "truncnormal": "write {trunc_normal: {std: 0.02}}",
    "fanin": "write {mode: fan_in}",
    "fanout": "write {mode: fan_out}",
    "none": "leave the key out",
}
NO_VALUES = """
adadelta adafactor adagrad adam adamax adamw asgd bilinear chainedscheduler circular
constant constantlr cosineannealingwarmrestarts cyclic cycliclr dirac double exp
exponential exponentiallr float16 float64 float8 fp16 fp64 fp8 half identity int8 inv
lamb lambdalr lars lbfgs lecunnormal lecununiform linear linearlr lion multiplicativelr
muon nadam nesterov onecycle onecyclelr orthogonal poly polynomial polynomialdecay
polynomiallr radam reflect replicate rmsprop rprop sequentiallr sigmoid sparse
sparseadam tf32
"""

PREFIX = re.compile(r"^(?:(?:torch|nn|f|tf|keras|layers|functional|ops)\.)+")


def tag_help(tag: str, word: str, valid: Collection[str]) -> str | None:
    """Return the help for an op, or a kind, that other programs have."""
    if tag == "op":
        return _help(word, valid, OPS, OP_HINTS, NO_OPS)
    return value_help(word, valid)


def key_help(word: str, valid: Collection[str]) -> str | None:
    """Return the help for a key of other programs where `valid` are possible."""
    return _help(word, valid, KEYS, KEY_HINTS, NO_KEYS)


def value_help(word: str, valid: Collection[str] = ()) -> str | None:
    """Return the help for a value of other programs, such as a kind of optimizer."""
    return _help(word, valid, VALUES, VALUE_HINTS, NO_VALUES)


def others(name: str) -> frozenset[str]:
    """Return what others call one of our keys, in lowercase."""
    return frozenset(
        word for ours, words in _lines(KEYS) if ours == name for word in words
    )


def our_key(word: str, valid: Collection[str]) -> str | None:
    """Return which of the `valid` keys others call by this name."""
    return next((name for name in _ours(word, KEYS) if name in valid), None)


def our_tag(tag: str, word: str, valid: Collection[str]) -> str | None:
    """Return which of the `valid` ops, or kinds, others call by this name."""
    table = OPS if tag == "op" else VALUES
    return next((name for name in _ours(word, table) if name in valid), None)


def _help(
    word: str, valid: Collection[str], ours: str, hints: dict[str, str], without: str
) -> str | None:
    names = list(_ours(word, ours))
    for name in names:
        if name in valid:
            return f"it is called {name} here"
    said = _plain(word)
    if said in valid:  # in other letters
        return f"it is called {said} here"
    if said in hints:
        return hints[said]
    unknown = ours is OPS and (names or NO_OP.fullmatch(said))
    if unknown or said in without.split():
        return f"it is not supported: see {LIMITS}"
    return None


def _ours(word: str, table: str) -> Iterator[str]:
    """Yield our possible names for a word, valid here or not."""
    said = _plain(word)
    for name, others in _lines(table):
        if said in others or said == _plain(name):
            yield name


def _lines(table: str) -> Iterator[tuple[str, list[str]]]:
    for line in table.strip().splitlines():
        name, _, others = line.partition(":")
        yield name, others.split()


def _plain(word: str) -> str:
    """Return a name without the differences between spellings."""
    return re.sub("[^a-z0-9.]", "", PREFIX.sub("", word[:100].casefold()))
