"""The numbers of the DWARF standard (versions 2 to 5, and GNU's additions) that the reader needs."""

from __future__ import annotations

from typing import Final


class Tag:
    """What an entry is (DW_TAG_*)."""

    ARRAY: Final = 0x01
    CLASS: Final = 0x02
    ENUMERATION: Final = 0x04
    FORMAL_PARAMETER: Final = 0x05
    LEXICAL_BLOCK: Final = 0x0B
    MEMBER: Final = 0x0D
    POINTER: Final = 0x0F
    REFERENCE: Final = 0x10
    COMPILE_UNIT: Final = 0x11
    STRUCTURE: Final = 0x13
    SUBROUTINE: Final = 0x15
    TYPEDEF: Final = 0x16
    UNION: Final = 0x17
    UNSPECIFIED_PARAMETERS: Final = 0x18
    VARIANT: Final = 0x19
    INHERITANCE: Final = 0x1C
    MODULE: Final = 0x1E
    PTR_TO_MEMBER: Final = 0x1F
    SUBRANGE: Final = 0x21
    BASE: Final = 0x24
    CONST: Final = 0x26
    ENUMERATOR: Final = 0x28
    SUBPROGRAM: Final = 0x2E
    TEMPLATE_TYPE: Final = 0x2F
    TEMPLATE_VALUE: Final = 0x30
    VARIANT_PART: Final = 0x33
    VARIABLE: Final = 0x34
    VOLATILE: Final = 0x35
    RESTRICT: Final = 0x37
    NAMESPACE: Final = 0x39
    UNSPECIFIED_TYPE: Final = 0x3B
    RVALUE_REFERENCE: Final = 0x42
    TEMPLATE_ALIAS: Final = 0x43
    ATOMIC: Final = 0x47
    IMMUTABLE: Final = 0x4B
    SKELETON_UNIT: Final = 0x4A
    GNU_TEMPLATE_TEMPLATE: Final = 0x4106
    GNU_TEMPLATE_PACK: Final = 0x4107


class At:
    """What is said about it (DW_AT_*)."""

    SIBLING: Final = 0x01
    LOCATION: Final = 0x02
    NAME: Final = 0x03
    BYTE_SIZE: Final = 0x0B
    BIT_OFFSET: Final = 0x0C
    BIT_SIZE: Final = 0x0D
    STMT_LIST: Final = 0x10
    LOW_PC: Final = 0x11
    LANGUAGE: Final = 0x13
    COMP_DIR: Final = 0x1B
    CONST_VALUE: Final = 0x1C
    INLINE: Final = 0x20
    PRODUCER: Final = 0x25
    PROTOTYPED: Final = 0x27
    UPPER_BOUND: Final = 0x2F
    ABSTRACT_ORIGIN: Final = 0x31
    ARTIFICIAL: Final = 0x34
    CALLING_CONVENTION: Final = 0x36
    COUNT: Final = 0x37
    DATA_MEMBER_LOCATION: Final = 0x38
    DECL_FILE: Final = 0x3A
    DECL_LINE: Final = 0x3B
    DECLARATION: Final = 0x3C
    ENCODING: Final = 0x3E
    EXTERNAL: Final = 0x3F
    SPECIFICATION: Final = 0x47
    TYPE: Final = 0x49
    RANGES: Final = 0x55
    VIRTUALITY: Final = 0x4C
    SIGNATURE: Final = 0x69
    DATA_BIT_OFFSET: Final = 0x6B
    ENUM_CLASS: Final = 0x6D
    LINKAGE_NAME: Final = 0x6E
    STR_OFFSETS_BASE: Final = 0x72
    ADDR_BASE: Final = 0x73
    ALIGNMENT: Final = 0x88
    EXPORT_SYMBOLS: Final = 0x89
    DEFAULTED: Final = 0x8B
    DELETED: Final = 0x8A
    MIPS_LINKAGE_NAME: Final = 0x2007
    GNU_VECTOR: Final = 0x2107
    GNU_DWO_NAME: Final = 0x2130
    DWO_NAME: Final = 0x76


class Form:
    """How it is stored (DW_FORM_*)."""

    ADDR: Final = 0x01
    BLOCK2: Final = 0x03
    BLOCK4: Final = 0x04
    STRING: Final = 0x08
    BLOCK: Final = 0x09
    BLOCK1: Final = 0x0A
    SDATA: Final = 0x0D
    STRP: Final = 0x0E
    UDATA: Final = 0x0F
    REF_ADDR: Final = 0x10
    REF1: Final = 0x11
    REF2: Final = 0x12
    REF4: Final = 0x13
    REF8: Final = 0x14
    REF_UDATA: Final = 0x15
    INDIRECT: Final = 0x16
    SEC_OFFSET: Final = 0x17
    EXPRLOC: Final = 0x18
    FLAG_PRESENT: Final = 0x19
    STRX: Final = 0x1A
    ADDRX: Final = 0x1B
    STRP_SUP: Final = 0x1D
    DATA16: Final = 0x1E
    LINE_STRP: Final = 0x1F
    REF_SIG8: Final = 0x20
    IMPLICIT_CONST: Final = 0x21
    LOCLISTX: Final = 0x22
    RNGLISTX: Final = 0x23
    STRX1: Final = 0x25
    STRX2: Final = 0x26
    STRX3: Final = 0x27
    STRX4: Final = 0x28
    ADDRX1: Final = 0x29
    ADDRX4: Final = 0x2C
    GNU_ADDR_INDEX: Final = 0x1F01
    GNU_STR_INDEX: Final = 0x1F02
    GNU_REF_ALT: Final = 0x1F20
    GNU_STRP_ALT: Final = 0x1F21


class Encoding:
    """How a base type's bits are read (DW_ATE_*)."""

    ADDRESS: Final = 0x01
    BOOLEAN: Final = 0x02
    COMPLEX_FLOAT: Final = 0x03
    FLOAT: Final = 0x04
    SIGNED: Final = 0x05
    SIGNED_CHAR: Final = 0x06
    UNSIGNED: Final = 0x07
    UNSIGNED_CHAR: Final = 0x08
    DECIMAL_FLOAT: Final = 0x0F
    UTF: Final = 0x10
    ASCII: Final = 0x12


class Op:
    """The location operations that a static variable's address is made of (DW_OP_*)."""

    ADDR: Final = 0x03
    CONST4U: Final = 0x0C
    CONST8U: Final = 0x0E
    PLUS_UCONST: Final = 0x23
    PIECE: Final = 0x93
    FORM_TLS_ADDRESS: Final = 0x9B
    ADDRX: Final = 0xA1
    CONSTX: Final = 0xA2
    GNU_PUSH_TLS_ADDRESS: Final = 0xE0
    GNU_ADDR_INDEX: Final = 0xFB
    GNU_CONST_INDEX: Final = 0xFC


C_LANGUAGES: Final = frozenset({0x01, 0x02, 0x0C, 0x1D, 0x2C, 0x3E})
CPP_LANGUAGES: Final = frozenset({0x04, 0x1A, 0x21, 0x2B, 0x3A, 0x40})
RUST: Final = 0x1C
ZIG: Final = 0x27
GO: Final = 0x16
PASS_BY_REFERENCE: Final = 4
PASS_BY_VALUE: Final = 5
