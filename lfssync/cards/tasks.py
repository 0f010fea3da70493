"""What a model is for, told by the name of its class, and how it is loaded. Pure.

Used by `reading` and `body`. The one thing to know: the longest ending that fits decides, and a class that fits none
has no task; the Hub then finds one of its own, or asks.

Source: transformers, the mappings of its auto classes; hub-docs, tasks.
"""

from __future__ import annotations

_BY_ENDING = (
    ("ForCausalLM", "text-generation", "AutoModelForCausalLM"),
    ("LMHeadModel", "text-generation", "AutoModelForCausalLM"),
    ("ForMaskedLM", "fill-mask", "AutoModelForMaskedLM"),
    ("ForSequenceClassification", "text-classification", "AutoModelForSequenceClassification"),
    ("ForTokenClassification", "token-classification", "AutoModelForTokenClassification"),
    ("ForQuestionAnswering", "question-answering", "AutoModelForQuestionAnswering"),
    ("ForMultipleChoice", "", "AutoModelForMultipleChoice"),
    ("ForImageClassification", "image-classification", "AutoModelForImageClassification"),
    ("ForSemanticSegmentation", "image-segmentation", "AutoModelForSemanticSegmentation"),
    ("ForObjectDetection", "object-detection", "AutoModelForObjectDetection"),
    ("ForDepthEstimation", "depth-estimation", "AutoModelForDepthEstimation"),
    ("ForAudioClassification", "audio-classification", "AutoModelForAudioClassification"),
    ("ForCTC", "automatic-speech-recognition", "AutoModelForCTC"),
    ("ForSpeechSeq2Seq", "automatic-speech-recognition", "AutoModelForSpeechSeq2Seq"),
    ("WhisperForConditionalGeneration", "automatic-speech-recognition", "AutoModelForSpeechSeq2Seq"),
    ("T5ForConditionalGeneration", "", "AutoModelForSeq2SeqLM"),
    ("BartForConditionalGeneration", "", "AutoModelForSeq2SeqLM"),
    ("PegasusForConditionalGeneration", "summarization", "AutoModelForSeq2SeqLM"),
    ("MarianMTModel", "translation", "AutoModelForSeq2SeqLM"),
    ("VLForConditionalGeneration", "image-text-to-text", "AutoModelForImageTextToText"),
    ("ForImageTextToText", "image-text-to-text", "AutoModelForImageTextToText"),
)

_METRICS = """
    accuracy f1 precision recall matthews_correlation pearsonr spearmanr roc_auc exact_match perplexity bleu sacrebleu
    chrf ter rouge meteor wer cer mae mse r_squared mean_iou
"""
METRICS = frozenset(_METRICS.split())
"""Names of metrics that the Hub knows from the evaluate library."""


def task_of(architecture: str) -> str:
    """The Hub's name of a task, or nothing."""
    return _found(architecture)[1]


def auto_class_of(architecture: str) -> str:
    """The class of transformers that loads a model."""
    return _found(architecture)[2]


def _found(architecture: str) -> tuple[str, str, str]:
    fitting = [row for row in _BY_ENDING if architecture.endswith(row[0])]
    return max(fitting, key=lambda row: len(row[0]), default=("", "", "AutoModel"))
