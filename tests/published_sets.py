"""A few records of each of the seventeen data sets, in the form in which it is published."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image

_OTHER = {"zh": ("图中有什么？", "一只猫。"), "pt": ("O que há na imagem?", "Um gato."),
          "ar": ("ماذا في الصورة؟", "قطة."), "tr": ("Resimde ne var?", "Bir kedi."),
          "ru": ("Что на картинке?", "Кошка.")}  # fmt: skip
COUNT = 12
"""Records of a set, where nothing else is said."""


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if place % 2 else "human", "value": text} for place, text in enumerate(texts)]


def _write(path: Path, tree: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree), encoding="utf-8")
    return str(path)


def _picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    colour = (number * 8 % 256, number * 40 % 256, number * 90 % 256)
    PIL.Image.new("RGB", (8, 8), colour).save(file, "JPEG", quality=95)
    path.write_bytes(file.getvalue() + b"%d" % number)  # behind the picture's end, so that no two are equal


def _captions(first: int, question: str) -> Callable[[Path], dict[str, Any]]:
    """LLaVA's pretraining form: `00453/004539375.jpg` with one question and its caption."""

    def write(folder: Path) -> dict[str, Any]:
        items = []
        for number in range(first, first + COUNT):
            name = f"{number // 1000:05d}/{number:09d}.jpg"
            _picture(folder / "images" / name, number)
            talk = turns(question, f"number {number} of select luxury furniture")
            items.append({"id": f"{number:09d}", "image": name, "conversations": talk})
        path = _write(folder / "meta.json", items)
        return {"format": "llava", "path": path, "images": str(folder / "images"), "expected": COUNT}

    return write


def _finetune(folder: Path) -> dict[str, Any]:
    """mix665k: pictures in folders of their publishers, and records of text alone, which have no `image`."""
    items: list[dict[str, Any]] = []
    for number in range(4000, 4000 + COUNT):
        name = f"coco/train2017/{number:012d}.jpg"
        _picture(folder / "images" / name, number)
        talk = turns("What is it?\n<image>", f"It is {number}.", "Sure?", "Yes.")
        items.append({"id": f"{number:012d}", "image": name, "conversations": talk})
    items.append({"id": "wgByO4Y_0", "model": "", "conversations": turns("How are you?", "Well.")})
    path = _write(folder / "meta.json", items)
    return {"format": "llava", "path": path, "images": str(folder / "images"), "expected": COUNT + 1}


def _sharegpt4v(language: str, first: int) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        asked, answered = _OTHER[language]
        items = []
        for number in range(first, first + COUNT):
            _picture(folder / "images" / f"{number}.jpg", number)
            talk = turns(f"<image>\n{asked}", f"{answered} {number}")
            items.append({"id": str(number), "image": f"{number}.jpg", "conversations": talk})
        path = _write(folder / "meta.json", items)
        images = str(folder / "images")
        return {"format": "llava", "path": path, "images": images, "language": language, "expected": COUNT}

    return write


def _llava_instruct(first: int, *later: str) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        items = []
        for number in range(first, first + COUNT):
            name = f"{number:012d}.jpg"
            _picture(folder / "train2017" / name, number)
            talk = turns(f"<image>\nWhat is {number}?", f"It is {number}.", *later)
            items.append({"id": f"{number:012d}", "image": name, "conversations": talk})
        items[0]["conversations"][0]["value"] = "What are the colors of the bus in the image?\n<image>"
        items[0]["conversations"][1]["value"] = "The bus is white and red."
        path = _write(folder / "instruct.json", items)
        return {"format": "llava", "path": path, "images": str(folder / "train2017"), "expected": COUNT}

    return write


def _aokvqa(folder: Path) -> dict[str, Any]:
    items = []
    for number in range(299207, 299207 + COUNT):
        items.append(
            {
                "split": "train", "image_id": number, "question_id": f"q{number}",
                "question": "What is the man by the bags awaiting?",
                "choices": ["skateboarder", "train", "delivery", "cab"], "correct_choice_idx": 3,
                "direct_answers": ["ride", "bus"] + 8 * ["cab"],
                "difficult_direct_answer": False,
                "rationales": ["A train would not be on the street.", "He has luggage.", "Cabs wait."],
            }
        )  # fmt: skip
        _picture(folder / f"train2017/{number:012d}.jpg", number)
    items[0]["question_id"] = "22MexNkBPpdZGX6sxbxVBH"
    path = _write(folder / "aokvqa_v1p0_train.json", items)
    return {"format": "aokvqa", "path": path, "images": str(folder), "expected": COUNT}


def _karpathy_train(folder: Path) -> dict[str, Any]:
    name = "val2014/COCO_val2014_000000522418.jpg"
    _picture(folder / name, 522418)
    caption = "A woman wearing a net on her head cutting a cake. "
    items = [{"caption": caption, "image": name, "image_id": "coco_522418"}]
    path = _write(folder / "coco_karpathy_train.json", items)
    return {"format": "coco_karpathy", "path": path, "images": str(folder), "expected": 1}


def _karpathy_val(folder: Path) -> dict[str, Any]:
    name = "val2014/COCO_val2014_000000184613.jpg"
    _picture(folder / name, 184613)
    items = [{"caption": ["A cat.", "A small cat."], "image": name, "image_id": "coco_184613"}]
    path = _write(folder / "coco_karpathy_val.json", items)
    return {"format": "coco_karpathy", "path": path, "images": str(folder), "expected": 2}


def _karpathy_split(folder: Path) -> dict[str, Any]:
    """dataset_coco.json of Karpathy's own coco.zip; only the test split is left out."""
    images = []
    for number, split in enumerate(("train", "restval", "test")):
        name = f"COCO_val2014_{number:012d}.jpg"
        _picture(folder / "val2014" / name, 7000 + number)
        sentences = [
            {
                "tokens": ["a", "bus"],
                "raw": f"A bus, {number}{letter}.",
                "imgid": number,
                "sentid": 10 * number + place,
            }
            for place, letter in enumerate("ab")
        ]
        images.append(
            {"filepath": "val2014", "sentids": [1, 2], "filename": name, "imgid": number, "split": split,
             "sentences": sentences, "cocoid": number}
        )  # fmt: skip
    path = _write(folder / "dataset_coco.json", {"images": images, "dataset": "coco"})
    return {"format": "karpathy_split", "path": path, "images": str(folder), "expected": 4}


def _coco_captions(folder: Path) -> dict[str, Any]:
    name = "COCO_val2014_000000522418.jpg"
    _picture(folder / "val2014" / name, 522419)
    image = {"license": 3, "file_name": name, "coco_url": "http://images.cocodataset.org/val2014/x.jpg",
             "height": 480, "width": 640, "date_captured": "2013-11-14 11:18:45",
             "flickr_url": "http://farm7.staticflickr.com/x.jpg", "id": 522418}  # fmt: skip
    captions = [{"image_id": 522418, "id": place, "caption": f"A cake, {place}."} for place in (7, 8)]
    tree = {"info": {"year": 2014}, "images": [image], "licenses": [{"id": 3, "name": "x", "url": "y"}],
            "annotations": captions}  # fmt: skip
    path = _write(folder / "captions_val2014.json", tree)
    return {"format": "coco_captions", "path": path, "images": str(folder / "val2014"), "expected": 2}


_BOOK: dict[str, Any] = {
    "questions": ["Who wrote this book?", "Is this book about cooking?"],
    "answers": ["Wendy Sloan.", "No."],
}


def _ocrvqa(folder: Path) -> dict[str, Any]:
    about = {"imageURL": "http://ecx.images-amazon.com/images/I/51.jpg", "title": "Tatting",
             "genre": "Crafts", "authorName": "Wendy Sloan"}  # fmt: skip
    asins = ("0760318345", "0760318346", "0760318347")
    tree = {asin: about | _BOOK | {"split": place + 1} for place, asin in enumerate(asins)}
    for number, asin in enumerate(asins):
        _picture(folder / "images" / f"{asin}.jpg", 8000 + number)
    path = _write(folder / "dataset.json", tree)
    return {"format": "ocrvqa", "path": path, "images": str(folder / "images"), "expected": 1}


def _ocrvqa_downloaded(folder: Path) -> dict[str, Any]:
    _picture(folder / "image" / "0760318345.jpg", 8100)
    path = _write(folder / "downloaded_dataset.json", [{"filename": "0760318345.jpg"} | _BOOK])
    return {"format": "ocrvqa_downloaded", "path": path, "images": str(folder / "image"), "expected": 1}


def _cc_sbu_align(folder: Path) -> dict[str, Any]:
    items = [
        {"image_id": str(number), "caption": f"Many things, {number} of them."} for number in range(2, 14)
    ]
    for number in range(2, 14):
        _picture(folder / "image" / f"{number}.jpg", 8200 + number)
    path = _write(folder / "filter_cap.json", {"annotations": items})
    return {"format": "cc_sbu_align", "path": path, "images": str(folder / "image"), "expected": COUNT}


def _dolly(folder: Path) -> dict[str, Any]:
    lines = [
        {"instruction": f"What is {number}?", "context": "It is odd." if number % 2 else "",
         "response": f"A number, {number}.", "category": "open_qa"}
        for number in range(COUNT)
    ]  # fmt: skip
    path = folder / "databricks-dolly-15k.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return {"format": "dolly", "path": str(path), "images": str(path), "expected": COUNT}


def _alpaca_gpt4(folder: Path) -> dict[str, Any]:
    items = [
        {"instruction": f"Say {number}.", "input": "", "output": f"{number}!"} for number in range(COUNT)
    ]
    path = _write(folder / "alpaca_gpt4_data.json", items)
    return {"format": "alpaca", "path": path, "images": path, "expected": COUNT}


def _baize(folder: Path) -> dict[str, Any]:
    talk = (
        "The conversation between human and AI assistant.\n[|Human|] What is tea?\n[|AI|] A drink.\n"
        "Of leaves.\n[|Human|] Of which plant?\n[|AI|] Camellia sinensis.\n[|Human|] "
    )
    path = _write(folder / "quora_chat_data.json", [{"topic": "What is tea?", "input": talk}])
    return {"format": "baize", "path": path, "images": path, "expected": 1}


PUBLISHED: dict[str, Callable[[Path], dict[str, Any]]] = {
    # Parrot's nine
    "llava_pretrain": _captions(1000, "Render a clear and concise summary of the photo.\n<image>"),
    "laion": _captions(2000, "<image>\nDescribe the image concisely."),
    "cc12m": _captions(3000, "What is this?\n<image>"),
    "llava_finetune": _finetune,
    **{f"sharegpt4v_{name}": _sharegpt4v(name, 5000 + 100 * place) for place, name in enumerate(_OTHER)},
    # MultiModal-GPT's eight, some of them in several files or forms
    "aokvqa": _aokvqa,
    "coco_karpathy_train": _karpathy_train,
    "coco_karpathy_val": _karpathy_val,
    "karpathy_split": _karpathy_split,
    "coco_captions": _coco_captions,
    "ocrvqa": _ocrvqa,
    "ocrvqa_downloaded": _ocrvqa_downloaded,
    "llava_detail": _llava_instruct(6000),
    "llava_reasoning": _llava_instruct(6100),
    "llava_dialogue": _llava_instruct(
        6200, "What feature can be seen on its back?", "An advertisement,\nin colour.", "Is it parked?", "No."
    ),
    "cc_sbu_align": _cc_sbu_align,
    "dolly": _dolly,
    "alpaca_gpt4": _alpaca_gpt4,
    "baize": _baize,
}
ALIGN = ("llava_pretrain", "laion", "cc12m")


def publish(folder: Path) -> dict[str, dict[str, Any]]:
    """Write all of them below `folder`; name -> what params.yaml says of it."""
    common = {"split": "sft", "language": "en"}
    sources = {name: common | write(folder / name) for name, write in PUBLISHED.items()}
    return {name: source | ({"split": "align"} if name in ALIGN else {}) for name, source in sources.items()}
