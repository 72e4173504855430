import { type Loss, losses } from "../../src/index.ts";
import { type Item, MissingFeature } from "./json.ts";

/** A loss of a golden file. */
export interface GoldenLoss {
  readonly loss: Loss;
  /** Whether the targets are class labels. */
  readonly labels: boolean;
  /** Whether a sample's share depends on the other samples, given the target's number of axes. */
  readonly couples: (axes: number) => boolean;
}

const apart = (): boolean => false;

/** Class labels go with the last axis of the output; here they go with axis 1, as in PyTorch. */
function labelled(options: Parameters<typeof losses.nll>[2] = {}): GoldenLoss {
  const loss: Loss = (output, target) => {
    const axes = [...output.shape.keys()];
    const classesSecond = axes.length === 2 ? output : output.permute(0, axes.length - 1, ...axes.slice(1, -1));
    return losses.nll(classesSecond, target, options);
  };
  return { loss, labels: true, couples: apart };
}

/** The losses by `type`. */
const lossReaders: Readonly<Record<string, (loss: Item) => GoldenLoss>> = {
  nll: () => labelled(),
  weighted_nll: (item) => {
    const ignoreIndex = item.find("ignore_index")?.number();
    return labelled({
      weight: item.get("class_weights").numbers(),
      ...(ignoreIndex === undefined ? {} : { ignoreIndex }),
    });
  },
  mse: () => ({ loss: losses.mse, labels: false, couples: apart }),
  bce: () => ({ loss: losses.bce, labels: false, couples: apart }),
  identity: () => ({ loss: (output) => output, labels: false, couples: apart }),
  squared: (item) => {
    const summed = item.get("variant").text() === "sum";
    return {
      // A target [batch, 1] beside an output [batch] makes all pairs of samples.
      loss: (output, target) => {
        const squares = output.sub(target).square();
        return summed ? squares.sum() : squares.mean();
      },
      labels: false,
      couples: (axes) => axes > 1,
    };
  },
};

/** Reads `loss_function`. @throws MissingFeature for a loss that is not known */
export function readLoss(item: Item): GoldenLoss {
  const type = item.get("type").text();
  if (!Object.hasOwn(lossReaders, type)) throw new MissingFeature(`loss ${type}`);
  return lossReaders[type]!(item);
}
