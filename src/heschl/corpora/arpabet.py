"""Phone symbols: the 39 of ARPABET and SIL, and the tables that lead to them.

ARPABET is the symbol set of the CMU Pronouncing Dictionary; TIMIT's 61 symbols and their folding to 39 classes are
those of Lee and Hon, "Speaker-independent phone recognition using hidden Markov models" (1989), table II.
espeak-ng's mnemonics are those of its English phoneme tables.
"""

from __future__ import annotations

SILENCE = "SIL"
VOWELS = tuple("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())  # noqa: SIM905
CONSONANTS = tuple("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())  # noqa: SIM905
PHONES = tuple(sorted(VOWELS + CONSONANTS))

# What other people call silence, in lower case.
SILENCES = frozenset(
    {"", "sil", "sp", "pau", "h#", "#", "<sil>", "[sil]", "<p:>", "_", "spn_sil", "epi", "<s>", "</s>"}
)


def _table(text: str) -> dict[str, tuple[str, ...]]:
    """Reads "symbol=PHONE+PHONE ..." (nothing after "=": no phone of its own)."""
    pairs = (item.rsplit("=", 1) for item in text.split())
    return {symbol: tuple(phones.split("+")) if phones else () for symbol, phones in pairs}


# A mnemonic of two phones (a vowel with its /r/) shares its time between them. No phone of its own: the mark
# (a palatal glide between vowels) lengthens what it follows.
ESPEAK = _table(
    """
    p=P b=B t=T t2=T t#=T t[=T ?=T d=D d#=D d[=D z#=Z z/2=Z k=K g=G f=F v=V T=TH D=DH s=S z=Z S=SH Z=ZH
    tS=CH dZ=JH h=HH x=K C=HH Q=G m=M n=N N=NG n^=N m-=M n-=N N-=NG l=L l/=L l/2=L l^=L l-=L L=L L/=L
    r=R r-=R r/=R R=R **=T j=Y w=W w#=W w2=W ;=
    i=IY i:=IY I=IH I2=IH I#=IH I2#=IH E=EH E#=EH E2=EH e=EY e:=EY e#=EH a=AE aa=AE a/=AE a#=AH a2=AE a#2=AH
    A:=AA A=AA A#=AA A~=AA 0=AA 0#=AA 02=AA O=AO O2=AO O:=AO O~=AO o=OW o:=OW U=UH u=UW u:=UW
    V=AH @=AH @2=AH @5=UH @#=AH @-=AH @L=AH+L 3=AH 3:=ER Y=ER W=AH
    aI=AY aI2=AY aI3=AY+ER aI@=AY+AH aU=AW aU@=AW+AH eI=EY OI=OY oI=OY oU=OW oU#=OW
    A@=AA O@=AO o@=AO e@=EH i@=IY+AH i@3=IH+AH U@=UH+AH IR=ER VR=ER
    """
)
# Accents that say the /r/ of "four": there the same mnemonics hold it.
RHOTIC = {"en-us", "en-gb-scotland"}
ESPEAK_RHOTIC = ESPEAK | _table("A@=AA+R O@=AO+R o@=AO+R e@=EH+R i@3=IH+R U@=UH+R 3=ER aU@=AW+ER")


def espeak_phones(mnemonic: str, accent: str, following: str = "") -> tuple[str, ...]:
    """The phones that one of espeak's phoneme events stands for.

    Parameters
    ----------
    mnemonic: with or without stress marks. accent: such as "en-us". following: the mnemonic after it.

    Raises
    ------
    KeyError: the mnemonic is not of English.
    """
    name = _bare(mnemonic)
    if name.startswith("_"):
        return (SILENCE,)
    phones = (ESPEAK_RHOTIC if accent in RHOTIC else ESPEAK)[name]
    if _bare(following) in ("r", "r-"):  # the /r/ has an event of its own: "zero", "daring"
        phones = ("IY",) if name == "i@" else phones[:1] if phones[-1:] == ("R",) else phones
    return phones


def _bare(mnemonic: str) -> str:
    return mnemonic.lstrip("',%=")


# TIMIT's 61 symbols that are not a class of their own, by the class of 39 that they count as.
TIMIT_FOLD = {
    "ao": "aa", "ax": "ah", "ax-h": "ah", "axr": "er", "hv": "hh", "ix": "ih", "el": "l", "em": "m", "en": "n",
    "nx": "n", "eng": "ng", "zh": "sh", "ux": "uw", "pcl": "sil", "tcl": "sil", "kcl": "sil", "bcl": "sil",
    "dcl": "sil", "gcl": "sil", "h#": "sil", "pau": "sil", "epi": "sil",
}  # fmt: skip
_TIMIT = """
aa ae ah ao aw ax ax-h axr ay b bcl ch d dcl dh dx eh el em en eng epi er ey f g gcl h# hh hv ih ix iy jh k kcl
l m n ng nx ow oy p pau pcl q r s sh t tcl th uh uw ux v w y z zh
"""
TIMIT_61 = tuple(_TIMIT.split())


def timit39(symbol: str) -> str | None:
    """A symbol of TIMIT's 61 as one of 38 classes in capitals or SIL; None for the glottal stop "q", which is left out.

    Raises
    ------
    KeyError: the symbol is not one of the 61.
    """
    symbol = symbol.lower()
    if symbol not in TIMIT_61:
        raise KeyError(symbol)
    return None if symbol == "q" else TIMIT_FOLD.get(symbol, symbol).upper()


def plain(symbol: str) -> str:
    """A symbol in capitals, without stress digits, with every name of silence as SIL: "ah0" -> "AH", "h#" -> "SIL"."""
    if symbol.strip().lower() in SILENCES:
        return SILENCE
    return symbol.strip().rstrip("012").upper()


# Finer symbols of dictionaries such as festvox's, by the one of the 39 that they are heard as.
ALIASES = {
    "AX": "AH", "AX-H": "AH", "AXR": "ER", "IX": "IH", "UX": "UW", "EL": "L", "EM": "M", "EN": "N", "ENG": "NG",
    "NX": "N", "DX": "T", "HV": "HH", "WH": "W",
}  # fmt: skip


def arpabet(symbol: str) -> str:
    """A symbol as one of the 39 phones or SIL: `plain`, and finer symbols as the one that they are heard as.

    Raises
    ------
    KeyError: it is none of them.
    """
    name = plain(symbol)
    name = ALIASES.get(name, name)
    if name != SILENCE and name not in PHONES:
        raise KeyError(symbol)
    return name
