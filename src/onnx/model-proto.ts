import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** Element types of the ONNX standard. https://onnx.ai/onnx/repo-docs/IR.html */
export const ELEMENT = { float32: 1, int64: 7, bool: 9, float64: 11 } as const;
export type ElementType = keyof typeof ELEMENT;

/** The operator set that the models name, and the format version that goes with it. */
const OPSET = 18;
const IR_VERSION = 8;

/** An attribute of an operator: a whole number, a list of them, a real number, a string or a graph. */
export type Attribute = number | readonly number[] | { readonly float: number } | string | OnnxGraph;

export interface OnnxNode {
  /** Its name, after the domain and a point where it is not of the standard. */
  readonly type: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface OnnxTensor {
  readonly name: string;
  readonly element: ElementType;
  readonly shape: readonly number[];
  /** Entries, row-major, little-endian. */
  readonly bytes: Uint8Array;
}

/** A named input or output: a tensor, where a dimension given by name is found when the model runs, or a sequence of tensors. */
export interface OnnxValue {
  readonly name: string;
  readonly element: ElementType;
  readonly shape: readonly (number | string)[] | "sequence";
}

export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxTensor[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  /** What is known of values in between. */
  readonly values: readonly OnnxValue[];
}

type Write = (writer: BinaryWriter) => void;

/**
 * A graph as a serialised ONNX ModelProto. Field numbers are those of onnx.proto3,
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
 */
export function encodeModel(graph: OnnxGraph): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).int64(IR_VERSION);
  writer.tag(2, WireType.LengthDelimited).string("grnewt");
  message(writer, 7, (w) => encodeGraph(w, graph));
  message(writer, 8, (w) => w.tag(2, WireType.Varint).int64(OPSET));
  for (const domain of new Set(graph.nodes.flatMap(({ type }) => domainOf(type) || [])))
    message(writer, 8, (w) => w.tag(1, WireType.LengthDelimited).string(domain).tag(2, WireType.Varint).int64(1));
  return writer.finish();
}

/** What is ahead of the last point of a type. */
function domainOf(type: string): string {
  return type.slice(0, Math.max(0, type.lastIndexOf(".")));
}

function message(writer: BinaryWriter, field: number, write: Write): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  write(writer);
  writer.join();
}

function encodeGraph(writer: BinaryWriter, graph: OnnxGraph): void {
  for (const node of graph.nodes) message(writer, 1, (w) => encodeNode(w, node));
  writer.tag(2, WireType.LengthDelimited).string("main");
  for (const tensor of graph.initializers) message(writer, 5, (w) => encodeTensor(w, tensor));
  for (const value of graph.inputs) message(writer, 11, (w) => encodeValue(w, value));
  for (const value of graph.outputs) message(writer, 12, (w) => encodeValue(w, value));
  for (const value of graph.values) message(writer, 13, (w) => encodeValue(w, value));
}

function encodeNode(writer: BinaryWriter, node: OnnxNode): void {
  for (const input of node.inputs) writer.tag(1, WireType.LengthDelimited).string(input);
  for (const output of node.outputs) writer.tag(2, WireType.LengthDelimited).string(output);
  const domain = domainOf(node.type);
  writer.tag(4, WireType.LengthDelimited).string(domain ? node.type.slice(domain.length + 1) : node.type);
  if (domain) writer.tag(7, WireType.LengthDelimited).string(domain);
  for (const [name, value] of Object.entries(node.attributes))
    message(writer, 5, (w) => encodeAttribute(w, name, value));
}

function encodeAttribute(writer: BinaryWriter, name: string, value: Attribute): void {
  const TYPE = { float: 1, int: 2, string: 3, graph: 5, ints: 7 };
  const type = (number: number): BinaryWriter => writer.tag(20, WireType.Varint).int32(number);
  writer.tag(1, WireType.LengthDelimited).string(name);
  if (typeof value === "number") {
    writer.tag(3, WireType.Varint).int64(value);
    type(TYPE.int);
  } else if (typeof value === "string") {
    writer.tag(4, WireType.LengthDelimited).string(value);
    type(TYPE.string);
  } else if ("float" in value) {
    writer.tag(2, WireType.Bit32).float(value.float);
    type(TYPE.float);
  } else if ("nodes" in value) {
    message(writer, 6, (w) => encodeGraph(w, value));
    type(TYPE.graph);
  } else {
    for (const item of value) writer.tag(8, WireType.Varint).int64(item);
    type(TYPE.ints);
  }
}

function encodeTensor(writer: BinaryWriter, tensor: OnnxTensor): void {
  for (const length of tensor.shape) writer.tag(1, WireType.Varint).int64(length);
  writer.tag(2, WireType.Varint).int32(ELEMENT[tensor.element]);
  writer.tag(8, WireType.LengthDelimited).string(tensor.name);
  writer.tag(9, WireType.LengthDelimited).bytes(tensor.bytes);
}

function encodeValue(writer: BinaryWriter, { name, element, shape }: OnnxValue): void {
  writer.tag(1, WireType.LengthDelimited).string(name);
  message(writer, 2, (type) => {
    if (shape === "sequence") message(type, 4, (sequence) => message(sequence, 1, (w) => encodeType(w, element)));
    else encodeType(type, element, shape);
  });
}

function encodeType(writer: BinaryWriter, element: ElementType, shape?: readonly (number | string)[]): void {
  message(writer, 1, (tensor) => {
    tensor.tag(1, WireType.Varint).int32(ELEMENT[element]);
    if (shape)
      message(tensor, 2, (lengths) => {
        for (const length of shape) message(lengths, 1, (w) => encodeDim(w, length));
      });
  });
}

function encodeDim(writer: BinaryWriter, length: number | string): void {
  if (typeof length === "number") writer.tag(1, WireType.Varint).int64(length);
  else writer.tag(2, WireType.LengthDelimited).string(length);
}
