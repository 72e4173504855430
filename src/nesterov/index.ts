export { nesterovLrs } from "./cubic.ts";
export {
  type DampedSolution,
  dampedLrs,
  diagonalLrs,
  diagonalPart,
  type LinearSolution,
  newtonLrs,
} from "./linear.ts";
export type { CubicProblem, LinearProblem } from "./problem.ts";
export type { CubicSolution } from "./solution.ts";
